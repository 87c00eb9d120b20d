"""The rows of experiments/RESULTS.md: which experiment, which settings, how often; and what the tutorials printed."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Study:
    """One set of images, and the tutorial that classified such images.

    Parameters
    ----------
    title : str
    printed : mapping of str to float
        The tutorial's own numbers, by metric. They are the only results that are not read from a run folder.
    meant : str
        What these numbers really were.
    changes : str
        What the careful experiment does otherwise.
    of_all_sets : bool
        Its images are those of several studies, to pretrain networks for others: no result for README's table.
    """

    title: str
    printed: Mapping[str, float]
    meant: str
    changes: str
    of_all_sets: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """One setting of a study.

    Parameters
    ----------
    name : str
        By which it is asked for.
    study : str
        A key of `STUDIES`: the folder of the images too.
    setting : str
        In words.
    experiment : str
        A file of `experiments/`.
    settings : tuple of str
        Beyond the experiment's, as typed.
    folds : int or None
        Of a cross-validation; every image is then judged out of fold.
    seeds : tuple of int
        Without folds, one run each, all on the test images of the first.
    weights : str or None
        The row whose run gives the initial weights.
    teacher : str or None
        The row whose folds teach those of this one.
    against : str or None
        The row from whose folds those of this one differ in weights or teacher alone: both are compared.
    """

    name: str
    study: str
    setting: str
    experiment: str
    settings: tuple[str, ...] = ()
    folds: int | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    weights: str | None = None
    teacher: str | None = None
    against: str | None = None

    @property
    def needed(self) -> tuple[str, ...]:
        """The rows that are measured before this one."""
        return tuple(name for name in (self.weights, self.teacher, self.against) if name is not None)


STUDIES = {
    "breast_cancer": Study(
        title="Breast ultrasound (BUSI): malignant against the rest",
        printed={"accuracy": 0.792},
        meant="On 72 test images that are not published. Precision, recall and F1 are printed for each of two batches, "
        "of the healthy class: the recalls, 0.667 and 0.857, are specificities for disease. The pretrained weights "
        "were not loaded: none of the 308 names matched, and the frozen blocks were random.",
        changes="ImageNet weights, each tensor accounted for; everything trained after the head; crops that keep the "
        "lesion; near duplicates on one side; each image judged out of fold.",
    ),
    "brain_tumor": Study(
        title="Brain MRI: tumour or none",
        printed={"accuracy": 0.90, "balanced_accuracy": 0.869},
        meant="On the 50 validation images that chose the epoch; 16% of them have a duplicate in training. 0.90 is the "
        "best of 50 epochs, 0.88 the last one's. The AUC printed, 0.869, is of predicted classes: it is the balanced "
        "accuracy.",
        changes="Near duplicates on one side, the head trained first and the rest ten times slower, augmentation, each "
        "image judged out of fold.",
    ),
    "chest_xray": Study(
        title="Children's chest X-rays: pneumonia or normal",
        printed={},
        meant="The tutorial prints none. The paper of the set (Kermany et al. 2018) reports an accuracy of 0.928 and "
        "an AUROC of 0.968.",
        changes="Val by patient, no mirrored chests, the threshold chosen on val.",
    ),
    "brain_tumor_mri": Study(
        title="Brain MRI: three tumours and none",
        printed={"accuracy": 0.98, "f1": 0.98},
        meant="On a tenth of Training and Testing pooled and cut at random: 19% of these test images are in training "
        "too. Rows of pooled images here keep exact duplicates on one side.",
        changes="Testing as it came, with its duplicates and near duplicates left out of training.",
    ),
    "skin_cancer": Study(
        title="Dermoscopy (HAM10000)",
        printed={"accuracy": 0.80, "balanced_accuracy": 0.671, "sensitivity": 0.718, "specificity": 0.625},
        meant="On 600 images of another archive. The accuracy, at a threshold of 0.5, is below the 0.805 of always "
        "predicting benign; the other three are at 0.23, chosen on the test images. The AUC printed, 0.671, is of "
        "predicted classes: it is the balanced accuracy.",
        changes="All seven diagnoses, everything trained, split by lesion, the threshold chosen on val.",
    ),
    "joined": Study(
        title="Pretraining on the other sets",
        printed={},
        meant="No tutorial pretrains on medical images.",
        changes="One network learns the classes of several sets, none of them the target, whose images, duplicates and "
        "near duplicates are left out. These numbers say how well it distinguishes the classes of its own sets; what "
        "its weights are worth for the target is to be seen in the target's table.",
        of_all_sets=True,
    ),
}

# From scratch, pretrained and taught: the same epochs in each. By processor time (22 ms a training image at 128
# pixels, about 10 more for a teacher), two quiet cores take some 22 and 11 minutes for five folds, 30 and 15 with a
# teacher, and 16 for either pretraining; a row's teachers, weights and counterpart are measured before it, if they are
# not yet.
BREAST_EPOCHS, BRAIN_EPOCHS = ("trainer.max_epochs=40",), ("trainer.max_epochs=60",)

# EfficientNet-Lite0, whose ImageNet weights come as a package, in the place of a network whose weights do not.
STAND_IN = ("model=efficientnet_lite0",)

ROWS = (
    Row("breast_cancer", "breast_cancer", "careful", "breast_cancer", folds=5),
    Row("breast_cancer_as_published", "breast_cancer", "as published", "breast_cancer_as_published", folds=5),
    Row("breast_cancer_scratch", "breast_cancer", "from scratch", "breast_cancer_scratch", seeds=(0,)),
    Row(
        "breast_cancer_scratch_folds",
        "breast_cancer",
        "from scratch, 40 epochs",
        "breast_cancer_scratch",
        BREAST_EPOCHS,
        folds=5,
    ),
    Row(
        "breast_cancer_pretrained",
        "breast_cancer",
        "pretrained on the other sets, 40 epochs",
        "breast_cancer_scratch",
        BREAST_EPOCHS,
        folds=5,
        weights="pretrain_breast_cancer",
        against="breast_cancer_scratch_folds",
    ),
    Row(
        "breast_cancer_distilled",
        "breast_cancer",
        "from scratch, taught by the careful networks, 40 epochs",
        "breast_cancer_scratch",
        BREAST_EPOCHS,
        folds=5,
        teacher="breast_cancer",
        against="breast_cancer_scratch_folds",
    ),
    Row("brain_tumor", "brain_tumor", "careful", "brain_tumor", folds=5),
    Row(
        "brain_tumor_as_published_lite0",
        "brain_tumor",
        "as published, EfficientNet-Lite0",
        "brain_tumor_as_published",
        STAND_IN,
        folds=5,
    ),
    Row("brain_tumor_as_published", "brain_tumor", "as published", "brain_tumor_as_published", folds=5),
    Row("brain_tumor_scratch", "brain_tumor", "from scratch", "brain_tumor_scratch", seeds=(0,)),
    Row(
        "brain_tumor_scratch_folds",
        "brain_tumor",
        "from scratch, 60 epochs",
        "brain_tumor_scratch",
        BRAIN_EPOCHS,
        folds=5,
    ),
    Row(
        "brain_tumor_pretrained",
        "brain_tumor",
        "pretrained on the other sets, 60 epochs",
        "brain_tumor_scratch",
        BRAIN_EPOCHS,
        folds=5,
        weights="pretrain_brain_tumor",
        against="brain_tumor_scratch_folds",
    ),
    Row(
        "brain_tumor_distilled",
        "brain_tumor",
        "from scratch, taught by the careful networks, 60 epochs",
        "brain_tumor_scratch",
        BRAIN_EPOCHS,
        folds=5,
        teacher="brain_tumor",
        against="brain_tumor_scratch_folds",
    ),
    Row("chest_xray", "chest_xray", "careful", "chest_xray"),
    Row(
        "chest_xray_as_published_lite0",
        "chest_xray",
        "as published, EfficientNet-Lite0 at 160 pixels, 4 epochs",
        "chest_xray_as_published",
        (*STAND_IN, "data.image_size=160", "trainer.max_epochs=4"),
    ),
    Row("chest_xray_as_published", "chest_xray", "as published", "chest_xray_as_published"),
    Row("chest_xray_scratch", "chest_xray", "from scratch", "chest_xray_scratch", seeds=(0,)),
    Row("brain_tumor_mri", "brain_tumor_mri", "careful", "brain_tumor_mri"),
    Row(
        "brain_tumor_mri_as_published_lite0",
        "brain_tumor_mri",
        "as published (pooled), EfficientNet-Lite0",
        "brain_tumor_mri_as_published",
        STAND_IN,
    ),
    Row(
        "brain_tumor_mri_as_published",
        "brain_tumor_mri",
        "as published (pooled)",
        "brain_tumor_mri_as_published",
    ),
    Row("brain_tumor_mri_scratch", "brain_tumor_mri", "from scratch", "brain_tumor_mri_scratch", seeds=(0,)),
    Row("skin_cancer", "skin_cancer", "careful: cancer against the rest", "skin_cancer"),
    Row(
        "skin_cancer_as_published_lite0",
        "skin_cancer",
        "as published: melanoma, EfficientNet-Lite0",
        "skin_cancer_as_published",
        (*STAND_IN, "data.image_size=224"),
    ),
    Row("skin_cancer_as_published", "skin_cancer", "as published: melanoma", "skin_cancer_as_published"),
    Row("pretrain_breast_cancer", "joined", "for breast_cancer", "pretrain_breast_cancer", seeds=(0,)),
    Row("pretrain_brain_tumor", "joined", "for brain_tumor", "pretrain_brain_tumor", seeds=(0,)),
)
