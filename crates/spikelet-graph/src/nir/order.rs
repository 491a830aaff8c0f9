//! How values lie: NIR has channels first, the event graph channels last.
//!
//! | in NIR | in the event graph |
//! | --- | --- |
//! | `[n]` | `[n]` |
//! | `[channels, length]` (signals of `Conv1d`) | `[1, length, channels]` |
//! | `[channels, height, width]` | `[height, width, channels]` |
//! | an image flattened, channel by channel | the same image flattened, position by position |
//!
//! A flattened image keeps its own order in the event graph; the columns of the layer behind it
//! and the parameters of neurons are brought into that order instead of the values.

use super::error::NirError;
use crate::tensor::elements;

/// The shape of a value in NIR and the order of its elements in the event graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Shape in NIR, without batch and time.
    pub shape: Vec<usize>,
    /// Channels, height, width of an image, also of a flattened one.
    image: Option<[usize; 3]>,
}

impl Form {
    /// A vector.
    pub fn vector(len: usize) -> Self {
        Form { shape: vec![len], image: None }
    }

    /// The form of this shape in NIR; `None` for a scalar, an empty value, and over three axes.
    pub fn of_nir(shape: &[usize]) -> Option<Self> {
        elements(shape).filter(|&len| len > 0)?;
        let image = match *shape {
            [_] => None,
            [channels, length] => Some([channels, 1, length]),
            [channels, height, width] => Some([channels, height, width]),
            _ => return None,
        };
        Some(Form { shape: shape.to_vec(), image })
    }

    /// The form of this shape in the event graph; `None` for what is neither vector nor image.
    pub fn of_graph(shape: &[usize]) -> Option<Self> {
        match *shape {
            [len] => Some(Form::vector(len)),
            [height, width, channels] => Some(Form {
                shape: vec![channels, height, width],
                image: Some([channels, height, width]),
            }),
            _ => None,
        }
    }

    /// Channels, height and width, unless it is a vector or flattened.
    pub fn as_image(&self) -> Option<[usize; 3]> {
        self.image.filter(|_| self.shape.len() > 1)
    }

    /// Whether it has one axis.
    pub fn is_flat(&self) -> bool {
        self.shape.len() == 1
    }

    /// The same values along one axis.
    pub fn flattened(&self) -> Self {
        Form { shape: vec![self.len()], image: self.image }
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its shape in the event graph.
    pub fn graph_shape(&self) -> Vec<usize> {
        match self.as_image() {
            Some([channels, height, width]) => vec![height, width, channels],
            None => self.shape.clone(),
        }
    }

    /// Whether the elements of a vector lie differently in NIR and in the event graph.
    pub fn is_reordered(&self) -> bool {
        matches!(self.image, Some([channels, height, width]) if channels > 1 && height * width > 1)
    }

    /// For every element in the order of the event graph, its position in NIR.
    pub fn nir_positions(&self) -> Vec<usize> {
        let Some([channels, height, width]) = self.image else { return (0..self.len()).collect() };
        let positions = height * width;
        (0..positions).flat_map(|p| (0..channels).map(move |c| c * positions + p)).collect()
    }

    /// Values in NIR's order, in the order of the event graph.
    pub fn in_graph_order<T: Copy>(&self, values: &[T]) -> Vec<T> {
        self.nir_positions().into_iter().map(|at| values[at]).collect()
    }

    /// Values in the order of the event graph, in NIR's.
    pub fn in_nir_order<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let mut ordered = values.to_vec();
        for (value, at) in values.iter().zip(self.nir_positions()) {
            ordered[at] = *value;
        }
        ordered
    }

    /// Channels, height and width of a value of this many axes; an error otherwise.
    pub fn image_of(&self, node: &str, axes: usize) -> Result<[usize; 3], NirError> {
        self.as_image().filter(|_| self.shape.len() == axes).ok_or_else(|| {
            NirError::node(node, format!("takes a value of {axes} axes, not {:?}", self.shape))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_turned_and_back() {
        let form = Form::of_nir(&[2, 1, 3]).unwrap();
        assert_eq!(form.graph_shape(), [1, 3, 2]);
        let turned = form.in_graph_order(&[0, 1, 2, 10, 11, 12]);
        assert_eq!(turned, [0, 10, 1, 11, 2, 12]);
        assert_eq!(form.in_nir_order(&turned), [0, 1, 2, 10, 11, 12]);
        let flat = form.flattened();
        assert!(flat.is_reordered() && flat.is_flat());
        assert_eq!(flat.graph_shape(), [6]);
        assert_eq!(Form::of_graph(&[1, 3, 2]).unwrap(), form);
    }

    #[test]
    fn shapes_without_a_form() {
        assert!(Form::of_nir(&[]).is_none());
        assert!(Form::of_nir(&[1, 2, 3, 4]).is_none());
        assert!(Form::of_nir(&[3, 0]).is_none());
        assert!(Form::of_nir(&[usize::MAX, 2]).is_none());
        assert!(Form::of_graph(&[2, 2]).is_none());
    }
}
