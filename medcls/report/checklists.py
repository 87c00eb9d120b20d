"""The items of two reporting standards, answered from the run as far as possible.

Numbers are those of the standards; sections and topics are paraphrased. A publication needs the standard's own form.
"""

import dataclasses
from collections.abc import Callable, Sequence

from medcls.evaluation.assessment import Assessment
from medcls.report import answers
from medcls.report.answers import Study
from medcls.report.limitations import Limitation
from medcls.report.sources import Sources

Answer = Callable[[Study], str | None]
"""Answers an item from a run, in sentences; None if the run lacks what is needed."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One item of a reporting standard.

    Parameters
    ----------
    standard, number : str
        `CLAIM 2024` or `TRIPOD+AI`, and the number of the item, such as `12a`.
    section, topic : str
        Heading, and what the item asks for, paraphrased.
    answer : str or None
        In sentences; None if the run does not know.
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
    """Answer CLAIM 2024, which has 44 items.

    Tejani et al., "Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update", Radiology:
    Artificial Intelligence 6(4):e240300.

    Parameters
    ----------
    headline, others, sources
        As in `limitations.limitations`.
    found : sequence of Limitation, optional
        The limitations, if they are known already.
    """
    return _fill("CLAIM 2024", _CLAIM, Study(headline, others, sources, found))


def tripod_ai(
    headline: Assessment,
    others: Sequence[Assessment],
    sources: Sources,
    found: Sequence[Limitation] | None = None,
) -> list[Item]:
    """Answer TRIPOD+AI, which has 27 items, 52 with their parts.

    Collins et al., "TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use
    regression or machine learning methods", BMJ 385:e078378, 2024.

    Parameters
    ----------
    headline, others, sources
        As in `limitations.limitations`.
    found : sequence of Limitation, optional
        The limitations, if they are known already.
    """
    return _fill("TRIPOD+AI", _TRIPOD, Study(headline, others, sources, found))


# An item without a function needs what no run knows.
_Rows = tuple[tuple[str, tuple[tuple[str, str, Answer | None], ...]], ...]

_CLAIM: _Rows = (
    (
        "Title and abstract",
        (
            ("1", "Title: kind of AI", answers.technology),
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
            ("7", "Sources of the data", answers.data_sources),
            ("8", "Inclusion and exclusion criteria", answers.eligibility),
            ("9", "Preprocessing", answers.preprocessing),
            ("10", "Selection of data subsets", answers.subsets),
            ("11", "De-identification", answers.deidentification),
            ("12", "Handling of missing data", answers.missing_data),
            ("13", "Image acquisition", None),
        ),
    ),
    (
        "Methods: reference standard",
        (
            ("14", "Definition of the reference standard", None),
            ("15", "Rationale for the reference standard", None),
            ("16", "Annotators and their qualifications", None),
            ("17", "Annotation of the test set", None),
            ("18", "Inter- and intra-annotator agreement", None),
        ),
    ),
    (
        "Methods: data partitions",
        (
            ("19", "Assignment of images to splits", answers.partitions),
            ("20", "Level at which the splits are disjoint", answers.disjointness),
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
            ("24", "Initialisation of the parameters", answers.initialisation),
        ),
    ),
    (
        "Methods: training",
        (
            ("25", "Training procedure", answers.training),
            ("26", "Selection of the final model", answers.selection),
            ("27", "Ensembling", answers.ensembling),
        ),
    ),
    (
        "Methods: evaluation",
        (
            ("28", "Performance metrics", answers.metrics),
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
            ("35", "Numbers of cases included and excluded", answers.numbers),
            ("36", "Characteristics of the cases in each split", answers.characteristics),
        ),
    ),
    (
        "Results: model performance",
        (
            ("37", "Performance and its uncertainty on every split", answers.performance),
            ("38", "Diagnostic accuracy with its precision", answers.accuracy_estimates),
            ("39", "Failure analysis", answers.failures),
        ),
    ),
    (
        "Discussion",
        (
            ("40", "Limitations", answers.found_limitations),
            ("41", "Implications for practice", None),
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
    ("Abstract", (("2", "Structured abstract (separate checklist)", None),)),
    (
        "Introduction",
        (
            ("3a", "Healthcare context and rationale", None),
            ("3b", "Target population, purpose and users", answers.purpose),
            ("3c", "Known health inequalities", None),
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
            ("7", "Data preparation and quality checks", answers.preparation),
            ("8a", "Definition of the outcome", None),
            ("8b", "Assessors of the outcome", None),
            ("8c", "Blinding of outcome assessment", None),
            ("9a", "Choice of predictors", answers.predictors),
            ("9b", "Definition of the predictors", answers.preprocessing),
            ("9c", "Assessors of the predictors", None),
            ("10", "Study size", None),
            ("11", "Handling of missing data", answers.missing_data),
            ("12a", "Use and partitioning of the data", answers.partitions),
            ("12b", "Handling of predictors", answers.preprocessing),
            ("12c", "Type of model, model building and internal validation", answers.model_and_training),
            ("12d", "Handling of heterogeneity between clusters (hospitals, countries)", answers.clusters),
            ("12e", "Performance metrics and plots", answers.metrics),
            ("12f", "Updating of the model", answers.updating),
            ("12g", "Calculation of predictions", answers.calculation),
            ("13", "Class imbalance", answers.imbalance),
            ("14", "Fairness", answers.fairness),
            ("15", "Output of the model, and thresholds", answers.output),
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
            ("18e", "Data sharing", answers.data_sharing),
            ("18f", "Code sharing", answers.code_sharing),
        ),
    ),
    ("Patient and public involvement", (("19", "Involvement of patients and public", None),)),
    (
        "Results",
        (
            ("20a", "Flow of participants", answers.numbers),
            ("20b", "Characteristics of participants", answers.characteristics),
            ("20c", "Comparison of evaluation and development data", answers.distribution),
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
            ("27a", "Handling of poor-quality or missing input", None),
            ("27b", "Required user interaction and expertise", None),
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
