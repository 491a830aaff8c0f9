//! Learning from a teacher's logits, as DeiT does (Touvron et al. 2021).

use crate::loss::cross_entropy;
use burn::tensor::{Tensor, activation::log_softmax};
use serde::{Deserialize, Serialize};

/// What a student takes from its teacher.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Distillation {
    /// The teacher's decision, as a label.
    Hard,
    /// The teacher's probabilities, of logits divided by a temperature.
    Soft {
        /// Above 0; the loss is multiplied by its square.
        temperature: f32,
    },
}

impl Distillation {
    /// The loss of a student's logits against those of its teacher, both `[batch, classes]`: the
    /// cross entropy, or the divergence per logit.
    pub fn loss(self, student: Tensor<2>, teacher: Tensor<2>) -> Tensor<1> {
        let teacher = teacher.detach();
        match self {
            Distillation::Hard => {
                let decisions = teacher.argmax(1).squeeze_dim(1);
                cross_entropy(student, decisions, None)
            }
            Distillation::Soft { temperature } => {
                let [batch, classes] = student.dims();
                let student = log_softmax(student.div_scalar(temperature), 1);
                let teacher = log_softmax(teacher.div_scalar(temperature), 1);
                let divergence = teacher.clone().exp() * (teacher - student);
                let scale = temperature * temperature / (batch * classes) as f32;
                divergence.sum().mul_scalar(scale)
            }
        }
    }
}
