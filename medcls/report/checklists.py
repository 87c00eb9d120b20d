"""The items of two reporting standards, each filled in from the run as far as a run can know.

The numbers are the standards' own; sections and topics are put in our own, shorter words. Whoever reports a study
fills in the standard's own form.
"""

import dataclasses
from collections.abc import Callable, Sequence

from medcls.evaluation.assessment import Assessment
from medcls.report import answers
from medcls.report.answers import Study
from medcls.report.limitations import Limitation
from medcls.report.sources import Sources

Answer = Callable[[Study], str | None]
"""From a run to the sentences of an item; None where the run lacks what they need."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One item of a reporting standard.

    Parameters
    ----------
    standard, number : str
        `CLAIM 2024` or `TRIPOD+AI`, and the item's number there, such as `12a`.
    section, topic : str
        Under which heading it stands, and what it asks for, in our own words.
    answer : str or None
        In sentences, from the run; None where only people can know.
    """

    standard: str
    number: str
    section: str
    topic: str
    answer: str | None


def claim_2024(
    headline: Assessment,
    others: Sequence[Assessment],
    sources: Sources,
    found: Sequence[Limitation] | None = None,
) -> list[Item]:
    """Fill in CLAIM 2024, of 44 items.

    Tejani et al., "Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update", Radiology:
    Artificial Intelligence 6(4):e240300.

    Parameters
    ----------
    headline, others, sources
        As of `limitations.limitations`.
    found : sequence of Limitation, optional
        What that found, where it is known already.
    """
    return _fill("CLAIM 2024", _CLAIM, Study(headline, others, sources, found))


def tripod_ai(
    headline: Assessment,
    others: Sequence[Assessment],
    sources: Sources,
    found: Sequence[Limitation] | None = None,
) -> list[Item]:
    """Fill in TRIPOD+AI, of 27 items, 52 with their parts.

    Collins et al., "TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use
    regression or machine learning methods", BMJ 385:e078378, 2024.

    Parameters
    ----------
    headline, others, sources
        As of `limitations.limitations`.
    found : sequence of Limitation, optional
        What that found, where it is known already.
    """
    return _fill("TRIPOD+AI", _TRIPOD, Study(headline, others, sources, found))


# An item without a function asks for what only people can know.
_Rows = tuple[tuple[str, tuple[tuple[str, str, Answer | None], ...]], ...]

_CLAIM: _Rows = (
    (
        "Title and abstract",
        (
            ("1", "The title names the kind of AI", answers.technology),
            ("2", "Structured abstract", None),
        ),
    ),
    (
        "Introduction",
        (
            ("3", "Background, intended use and clinical role", answers.purpose),
            ("4", "Aims and hypotheses", None),
        ),
    ),
    (
        "Methods: study design",
        (
            ("5", "Prospective or retrospective", None),
            ("6", "Goal of the study", answers.goal),
        ),
    ),
    (
        "Methods: data",
        (
            ("7", "Where the data come from", answers.data_sources),
            ("8", "Who and what was included or excluded", answers.eligibility),
            ("9", "Preprocessing", answers.preprocessing),
            ("10", "Choice of subsets of the data", answers.subsets),
            ("11", "De-identification", answers.deidentification),
            ("12", "Handling of missing data", answers.missing_data),
            ("13", "How the images were acquired", None),
        ),
    ),
    (
        "Methods: reference standard",
        (
            ("14", "Definition of the reference standard", None),
            ("15", "Why this reference standard", None),
            ("16", "Who annotated, with what qualification", None),
            ("17", "How the test set was annotated", None),
            ("18", "Agreement between and within annotators", None),
        ),
    ),
    (
        "Methods: data partitions",
        (
            ("19", "How images were assigned to parts", answers.partitions),
            ("20", "Level at which the parts are disjoint", answers.disjointness),
        ),
    ),
    (
        "Methods: testing data",
        (("21", "Intended sample size", None),),
    ),
    (
        "Methods: model",
        (
            ("22", "Description of the model", answers.architecture),
            ("23", "Software and its versions", answers.software),
            ("24", "Initial values of the parameters", answers.initialisation),
        ),
    ),
    (
        "Methods: training",
        (
            ("25", "Training procedure", answers.training),
            ("26", "Choice of the final model", answers.selection),
            ("27", "Ensembling", answers.ensembling),
        ),
    ),
    (
        "Methods: evaluation",
        (
            ("28", "Measures of performance", answers.metrics),
            ("29", "Significance and uncertainty", answers.uncertainty),
            ("30", "Robustness or sensitivity analysis", answers.robustness),
            ("31", "Explainability", None),
            ("32", "Evaluation on internal data", answers.internal_testing),
            ("33", "Testing on external data", answers.external_testing),
            ("34", "Registration of a clinical trial", None),
        ),
    ),
    (
        "Results: data",
        (
            ("35", "Numbers included and excluded", answers.numbers),
            ("36", "Characteristics of the cases in each part", answers.characteristics),
        ),
    ),
    (
        "Results: model performance",
        (
            ("37", "Performance and its uncertainty in every part", answers.performance),
            ("38", "Diagnostic accuracy with its precision", answers.accuracy_estimates),
            ("39", "Analysis of the failures", answers.failures),
        ),
    ),
    (
        "Discussion",
        (
            ("40", "Limitations", answers.found_limitations),
            ("41", "What follows for practice", None),
        ),
    ),
    (
        "Other information",
        (
            ("42", "Protocol and technical details", answers.technical_details),
            ("43", "Availability of software, model and data", answers.availability),
            ("44", "Funding and the role of funders", None),
        ),
    ),
)

_TRIPOD: _Rows = (
    ("Title", (("1", "Kind of study, population and outcome", answers.technology),)),
    ("Abstract", (("2", "Structured abstract, by its own list", None),)),
    (
        "Introduction",
        (
            ("3a", "Healthcare context, and why a model", None),
            ("3b", "Target population, purpose and users", answers.purpose),
            ("3c", "Known inequalities in health", None),
            ("4", "Objectives: development, evaluation or both", answers.goal),
        ),
    ),
    (
        "Methods",
        (
            ("5a", "Sources of the data", answers.data_sources),
            ("5b", "Dates of the data", None),
            ("6a", "Setting and centres", None),
            ("6b", "Eligibility of participants", answers.eligibility),
            ("6c", "Treatments", None),
            ("7", "Preparation of the data, and checks of their quality", answers.preparation),
            ("8a", "Definition of the outcome", None),
            ("8b", "Who assessed the outcome", None),
            ("8c", "Blinding of the outcome's assessment", None),
            ("9a", "Choice of predictors", answers.predictors),
            ("9b", "Definition of the predictors", answers.preprocessing),
            ("9c", "Who assessed the predictors", None),
            ("10", "How the study's size was arrived at", None),
            ("11", "Handling of missing data", answers.missing_data),
            ("12a", "How the data were used and parted", answers.partitions),
            ("12b", "How predictors enter the model", answers.preprocessing),
            ("12c", "Type of model, its building and internal validation", answers.model_and_training),
            ("12d", "Heterogeneity between clusters (hospitals, countries): how it was handled", answers.clusters),
            ("12e", "Measures and plots of performance", answers.metrics),
            ("12f", "Updating of the model", answers.updating),
            ("12g", "How predictions were calculated", answers.calculation),
            ("13", "Class imbalance", answers.imbalance),
            ("14", "Fairness", answers.fairness),
            ("15", "Output of the model, and its thresholds", answers.output),
            ("16", "Differences between training and evaluation", answers.training_and_evaluation),
            ("17", "Ethical approval and consent", None),
        ),
    ),
    (
        "Open science",
        (
            ("18a", "Funding", None),
            ("18b", "Conflicts of interest", None),
            ("18c", "Protocol", None),
            ("18d", "Registration", None),
            ("18e", "Sharing of data", answers.data_sharing),
            ("18f", "Sharing of code", answers.code_sharing),
        ),
    ),
    ("Patient and public involvement", (("19", "Involvement of patients and public", None),)),
    (
        "Results",
        (
            ("20a", "Flow of participants", answers.numbers),
            ("20b", "Characteristics of participants", answers.characteristics),
            ("20c", "Evaluation data beside development data", answers.distribution),
            ("21", "Participants and outcomes in each analysis", answers.distribution),
            ("22", "The full model, for use by others", answers.specification),
            ("23a", "Performance with intervals, also by subgroup", answers.performance_by_subgroup),
            ("23b", "Heterogeneity of performance between clusters", answers.gaps_between_places),
            ("24", "Results of updating", answers.updated_performance),
        ),
    ),
    (
        "Discussion",
        (
            ("25", "Interpretation", None),
            ("26", "Limitations", answers.found_limitations),
            ("27a", "Input of poor quality, or none", None),
            ("27b", "What users must do, and know", None),
            ("27c", "Next steps", None),
        ),
    ),
)


def _fill(standard: str, sections: _Rows, study: Study) -> list[Item]:
    return [
        Item(standard, number, section, topic, None if answer is None else answer(study))
        for section, items in sections
        for number, topic, answer in items
    ]
