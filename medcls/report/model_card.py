"""A model card in the form of Hugging Face, and a note on licences: what goes with a model that is handed on."""

import dataclasses
import math
from typing import Any

import yaml

from medcls import __version__
from medcls.evaluation.assessment import Assessment
from medcls.report import answers
from medcls.report.answers import NOT_KNOWN, Study
from medcls.report.pages.layout import escape_markdown
from medcls.report.phrases import estimates_of, key_metrics, meaning
from medcls.report.sources import Sources

LICENCES = "LICENCES.md"
"""The file that the card refers to."""

HUGGING_FACE = {"auroc": "roc_auc", "sensitivity": "recall"}
"""Its names of metrics, by those of medcls; the others are the same."""

_USE = """\
## How to use

`model.onnx` takes decoded and resized images, and includes scaling and normalisation. How to decode and resize them,
the classes, the calibration and the operating point are in its metadata under the key `medcls`, as JSON. medcls reads
them:

```
pip install medcls onnxruntime
python -m medcls.predict run=model.onnx images=FOLDER
```

`model.safetensors` has the same weights for torch, and in its metadata how the network is built.
"""


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a card is of.

    Parameters
    ----------
    headline : Assessment
        The split whose metrics are stated.
    sources : Sources
        What is known about the run.
    licence : str or None
        Of the weights, as Hugging Face names it; None if that is to be decided.
    """

    headline: Assessment
    sources: Sources
    licence: str | None

    @property
    def study(self) -> Study:
        """For the answers of reporting standards, which contain no path."""
        return Study(self.headline, (), self.sources)


def model_card(subject: Subject, body: str) -> str:
    """Make a card: metadata in YAML, then text.

    Parameters
    ----------
    subject : Subject
    body : str
        The card of the run (`report.report`), without paths.
    """
    front = yaml.safe_dump(front_matter(subject), sort_keys=False, allow_unicode=True, width=120)
    study = subject.study
    training_data = (answers.data_sources, answers.eligibility, answers.preprocessing, answers.deidentification)
    sections = (
        ("Training data", training_data),
        ("Training", (answers.architecture, answers.initialisation, answers.training, answers.selection)),
    )
    parts = [f"---\n{front}---\n", body.strip() + "\n"]
    for title, questions in sections:
        found = [text for question in questions if (text := question(study)) is not None]
        parts.append(f"## {title}\n\n" + "\n\n".join(map(escape_markdown, found or [f"{NOT_KNOWN}."])) + "\n")
    parts += [_USE, f"## Licences\n\nSee [{LICENCES}]({LICENCES}).\n"]
    return "\n".join(parts)


def front_matter(subject: Subject) -> dict[str, Any]:
    """The metadata of a card: https://huggingface.co/docs/hub/model-cards."""
    headline, sources = subject.headline, subject.sources
    licence: dict[str, Any] = {"license": subject.licence}
    if subject.licence is None:
        licence = {"license": "other", "license_name": "not-stated", "license_link": LICENCES}
    tags = ["image-classification", "medical", "onnx", "safetensors", "research-use-only"]
    return {
        **licence,
        "library_name": "medcls",
        "pipeline_tag": "image-classification",
        "tags": [*tags, *(watermark.lower().replace(" ", "-") for watermark in sources.watermarks)],
        "metrics": [HUGGING_FACE.get(name, name) for name in key_metrics(headline)],
        "model-index": [
            {
                "name": sources.name,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {
                            "name": str(sources.setting("data.name") or "images"),
                            "type": "images",
                            "split": headline.table.name,
                        },
                        "metrics": _metrics(headline),
                    }
                ],
            }
        ],
    }


def licence_note(subject: Subject) -> str:
    """Whose licences concern the model, in Markdown; what no run can know is named."""
    study, weights = subject.study, subject.sources.weights
    stated = subject.licence or f"{NOT_KNOWN}. Whoever hands the model on states it (licence=... of medcls.export)"
    lines = [
        ("These weights", stated),
        ("Initial weights", answers.initialisation(study) or NOT_KNOWN),
        ("Images they were trained on", answers.data_sharing(study) or f"{NOT_KNOWN}: their licence, and its terms"),
        ("medcls, which reads them", f"Apache-2.0 (version {__version__})"),
    ]
    if weights is not None and weights.source is not None and weights.licence is None:
        lines.append(("Licence of the initial weights", f"{NOT_KNOWN}: their publisher states none that medcls knows"))
    listed = "\n".join(f"- {name}: {escape_markdown(text)}" for name, text in lines)
    return (
        f"# Licences\n\n{listed}\n\nThe terms of the initial weights and of the images may restrict the use of what "
        "was trained with them. This is no legal advice.\n\nFor research; not a medical device.\n"
    )


def _metrics(headline: Assessment) -> list[dict[str, Any]]:
    estimates = estimates_of(headline)
    found = []
    for metric in key_metrics(headline):
        estimate = estimates[metric]
        if math.isnan(estimate.value):
            continue
        limits = f" (95% interval {estimate.interval})" if estimate.interval else ""
        found.append(
            {
                "type": HUGGING_FACE.get(metric, metric),
                "value": round(float(estimate.value), 6),
                "name": f"{meaning(metric, headline).title}{limits}",
            }
        )
    return found
