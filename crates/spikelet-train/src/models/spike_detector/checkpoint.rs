//! Weights under their official names.

use super::model::{Detector, Network};
use crate::{
    models::convnet,
    params::{LoadError, Tensors},
};

/// The detector with the weights of a state dictionary of MMDetection with the official layers.
///
/// # Errors
/// Names or shapes that are not those of the networks.
pub fn from_official(detector: Detector, official: &Tensors) -> Result<Detector, LoadError> {
    let [mut features, mut boxes, mut masks] = [Tensors::new(), Tensors::new(), Tensors::new()];
    for (name, value) in official {
        let part = match name {
            name if name.starts_with("roi_head.bbox_head.") => &mut boxes,
            name if name.starts_with("roi_head.mask_head.") => &mut masks,
            _ => &mut features,
        };
        part.insert(name.clone(), value.clone());
    }
    for (part, head) in
        [(&boxes, &detector.network.box_head), (&masks, &detector.network.mask_head)]
    {
        if let (Some((name, _)), None) = (part.iter().next(), head) {
            return Err(LoadError::Unexpected(name.clone()));
        }
    }
    let Network { features: network, box_head, mask_head } = detector.network;
    let load = convnet::from_official;
    let network = Network {
        features: load(network, &features)?,
        box_head: box_head.map(|head| load(head, &boxes)).transpose()?,
        mask_head: mask_head.map(|head| load(head, &masks)).transpose()?,
    };
    Ok(Detector { network, ..detector })
}
