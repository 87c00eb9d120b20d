"""Breast ultrasound phantoms: images to try medcls on without real ones.

They are drawn, not simulated from physics: layers of skin, fat, gland and muscle with their septa and fibres; one
lesion, or none; fully developed speckle, compounded, log-compressed. The classes differ in features of the
radiologists' lexicon (ACR BI-RADS Atlas, 5th edition, ultrasound: shape, orientation, margin, echo pattern, posterior
features):

- benign: smooth, wide, sharply bounded, echo-bright behind; some are cysts;
- malignant: spiculated, tall, blurred, with a bright halo, shadowing behind;
- normal: no lesion.

One hidden number a patient, its *suspicion*, drives all of these, each with noise; the classes overlap in it, and
lesions may be faint, so that the task is not trivial. Lobules of fat, small cysts and shadows occur in every class.
Gain and contrast are set last, to a mean and a deviation independent of the class, so that brightness predicts nothing.

No result on phantoms applies to patients: the marker file and `PHANTOM_WATERMARK` say so.
"""

import dataclasses
import hashlib
import io
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from medcls import cpu
from medcls.data.reading.images import is_junk
from medcls.errors import MedclsError
from medcls.wording import listed

PHANTOM_WATERMARK = "SYNTHETIC: made by medcls, not patients"
"""The watermark of everything made from phantoms."""

MARKER_NAME = "SYNTHETIC.json"
GENERATOR = "medcls breast ultrasound phantoms"
VERSION = 1
"""Raise this when the same seed gives other bytes."""

GROUP_PATTERN = r"patient\d+"
"""Finds the patient in a phantom's relative path."""

SIZE = 256  # pixels a side
SHARES = {"benign": 437, "malignant": 210, "normal": 133}  # of BUSI's 780 images
IMAGES_A_PATIENT = (1, 2, 3)

# Difficulty. Suspicion is normal with deviation 1 in each class: an ideal observer would separate benign from malignant
# with AUROC = Phi(D_PRIME / sqrt(2)).
D_PRIME = 3.5
CUE_NOISE = 0.7  # deviation of what each visible feature adds to suspicion
CONTRAST_DB = (4.5, 14.0)  # how much darker than its surroundings a lesion is
RADIUS = (18.0, 50.0)  # of a circle of the lesion's area, in pixels
CYST_SHARE = 0.2  # of benign lesions
SHADOW_SHARE = 0.3  # images of any class with a shadow that no lesion casts
SMALL_CYST_SHARE = 0.2  # images of any class with an unrelated small cyst
LOOKS = 3  # images of the same tissue compounded into one, which reduces speckle
MEAN_GREY = (58.0, 98.0)
DEVIATION_GREY = (36.0, 52.0)


@dataclasses.dataclass(frozen=True)
class Lesion:
    """One patient's lesion. Cues lie between 0, as in a benign, and 1, as in a malignant lesion."""

    radius: float
    contrast: float  # dB
    place: tuple[float, float]  # across and down, as shares of the room there is
    cyst: bool
    spiculated: float
    tall: float
    blurred: float
    halo: float
    shadowing: float


@dataclasses.dataclass(frozen=True)
class Patient:
    """What all images of one patient share."""

    number: int
    label: str
    images: int
    fat_end: float  # pixels below the probe
    gland_end: float
    fat: float  # echogenicity of fat and of muscle against gland, dB
    muscle: float
    slope: float  # of the layers, pixels down by pixels across
    septa: float  # how bright connective tissue is, dB
    fibrous: float
    fading: float  # dB lost from top to bottom
    mean: float
    deviation: float
    lesion: Lesion | None


def ensure_phantoms(root: Path, images: int = 600, seed: int = 0, threads: int | None = None) -> None:
    """Make the phantoms at `root` unless something exists there.

    `root/{benign,malignant,normal}/patient0042_image1.png`, grey, 256 x 256, and the marker file. They are made in a
    hidden folder beside `root` which is then renamed, so that a killed process leaves no incomplete set, and of two
    processes one wins. The files depend on (VERSION, seed, images) alone, to the byte; images are in BUSI's
    proportions.
    """
    root = Path(root).absolute()
    if root.exists():
        return
    if root.is_symlink():
        raise MedclsError(f"{root} is a broken link. Remove it, or make the folder it names.", kind="no_such_folder")
    building = root.with_name(f".{root.name}-{secrets.token_hex(4)}")
    try:
        for label in SHARES:
            (building / label).mkdir(parents=True)
        patients = _patients(images, seed)
        jobs = [(patient, number) for patient in patients for number in range(1, patient.images + 1)]

        def make(job: tuple[Patient, int]) -> tuple[str, tuple[int, str]]:
            patient, number = job
            name = f"{patient.label}/patient{patient.number:04}_image{number}.png"
            data = _png(draw(patient, number, seed))
            (building / name).write_bytes(data)
            return name, (len(data), hashlib.sha256(data).hexdigest())

        with ThreadPoolExecutor(threads or cpu.available_cores()) as pool:
            files = dict(sorted(pool.map(make, jobs)))
        marker = {"stamp": PHANTOM_WATERMARK, "generator": GENERATOR, "version": VERSION, "seed": seed, "files": files}
        (building / MARKER_NAME).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")
        try:
            building.rename(root)
        except OSError:
            if not (root / MARKER_NAME).exists():  # unless another process has made the same set
                raise
    except OSError as error:
        raise MedclsError(
            f"The phantoms cannot be written to {root}: {error.strerror or error}.", kind="cannot_write"
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def holds_phantoms(root: Path) -> bool:
    """Whether a folder has the marker file of phantoms, checked by names and sizes to have nothing else.

    Raises
    ------
    MedclsError
        The marker cannot be read, or files are unexpected, missing or of another size: lists them. Real images among
        phantoms would be marked SYNTHETIC, and phantoms among real images would not.
    """
    root = Path(root)
    path = root / MARKER_NAME
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
        expected = {str(name): int(size) for name, (size, _) in marker["files"].items()}
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MedclsError(
            f"{path} marks this folder as phantoms, but cannot be read ({type(error).__name__}: {error}). "
            f"Remove the folder {root}; medcls makes it again.",
            kind="damaged_phantoms",
        ) from error
    sizes = dict(_sizes(root))
    faults = [f"unexpected: {name}" for name in sorted(sizes.keys() - expected.keys())]
    faults += [f"missing: {name}" for name in sorted(expected.keys() - sizes.keys())]
    faults += [
        f"changed: {name} ({sizes[name]:,} bytes, not {size:,})"
        for name, size in expected.items()
        if name in sizes and sizes[name] != size
    ]
    if faults:
        raise MedclsError(
            f"{root} is marked as phantoms made by medcls ({MARKER_NAME}), but differs from what medcls made:\n"
            f"{listed(faults, 20)}\n"
            "Put your own images into another folder; to make the phantoms again, remove this folder.",
            kind="phantoms_changed",
        )
    return True


def draw(patient: Patient, number: int, seed: int) -> np.ndarray:
    """Draw a patient's image `number`, from 1, each another view with its own speckle; uint8 `(SIZE, SIZE)`."""
    random = np.random.default_rng([seed, patient.number, number])
    down, across = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    tissue = _tissue(random, patient, down)
    transmitted = np.zeros_like(tissue)  # dB that what lies above adds to (or takes from) each pixel
    if patient.lesion is not None:
        tissue, transmitted = _add_lesion(random, patient.lesion, tissue, down, across)
    if random.random() < SMALL_CYST_SHARE:
        tissue, behind = _add_cyst(random, tissue, down, across)
        transmitted += behind
    if random.random() < SHADOW_SHARE:
        transmitted += _shadow(random, down, across)
    transmitted -= patient.fading * (down / SIZE) ** 1.5
    echo = tissue + transmitted + _speckle(random)
    # The receiver's noise: with little echo the image fades into it, not to black. Its power, of as many looks as
    # speckle has, is gamma-distributed.
    floor = np.median(echo) - random.uniform(20, 30)
    noise = random.standard_gamma(LOOKS, (SIZE, SIZE), dtype=np.float32) / LOOKS
    echo = 10 * np.log10(10 ** (echo / 10) + 10 ** (floor / 10) * noise)
    mean = float(np.clip(patient.mean + random.normal(0, 4), *MEAN_GREY))
    deviation = float(np.clip(patient.deviation + random.normal(0, 2), *DEVIATION_GREY))
    grey = _set_gain(echo, mean, deviation)
    return grey[:, ::-1] if random.random() < 0.5 else grey


def _patients(images: int, seed: int) -> list[Patient]:
    """Plan a set: BUSI's proportions to the nearest image, patient numbers independent of class."""
    total = sum(SHARES.values())
    counts = {label: images * share // total for label, share in SHARES.items()}
    by_remainder = sorted(SHARES, key=lambda label: -(images * SHARES[label] % total))
    for label in by_remainder[: images - sum(counts.values())]:
        counts[label] += 1
    random = np.random.default_rng([seed, 0])
    planned: list[tuple[str, int]] = []
    for label, left in counts.items():
        while left:
            size = min(left, int(random.choice(IMAGES_A_PATIENT)))
            planned.append((label, size))
            left -= size
    random.shuffle(planned)
    return [_patient(number, label, size, seed) for number, (label, size) in enumerate(planned, start=1)]


def _patient(number: int, label: str, images: int, seed: int) -> Patient:
    random = np.random.default_rng([seed, number])
    fat_end = random.uniform(38, 90)
    return Patient(
        number=number,
        label=label,
        images=images,
        fat_end=fat_end,
        gland_end=fat_end + random.uniform(65, 115),
        fat=random.uniform(-9, -3),
        muscle=random.uniform(-10, -4),
        slope=random.normal(0, 0.06),
        septa=random.uniform(6, 13),
        fibrous=random.uniform(2.0, 5.0),
        fading=random.uniform(4, 20),
        mean=random.uniform(*MEAN_GREY),
        deviation=random.uniform(*DEVIATION_GREY),
        lesion=None if label == "normal" else _lesion(random, label),
    )


def _lesion(random: np.random.Generator, label: str) -> Lesion:
    suspicion = random.normal(D_PRIME / 2 if label == "malignant" else -D_PRIME / 2)

    def cue() -> float:
        return 1 / (1 + math.exp(-1.5 * (suspicion + random.normal(0, CUE_NOISE))))

    cyst = label == "benign" and random.random() < CYST_SHARE
    return Lesion(
        radius=math.exp(random.uniform(math.log(RADIUS[0]), math.log(RADIUS[1]))),
        contrast=random.uniform(*CONTRAST_DB) + (8 if cyst else 0),
        place=(random.uniform(0, 1), random.uniform(0, 1)),
        cyst=cyst,
        spiculated=cue(),
        tall=cue(),
        blurred=cue(),
        halo=cue(),
        shadowing=cue(),
    )


def _field(random: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Smooth noise of mean 0 and deviation 1 with this many bumps down and across, float32."""
    grid = random.standard_normal((rows, columns)).astype(np.float32)
    field = np.asarray(Image.fromarray(grid).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    scaled: np.ndarray = (field - field.mean()) / field.std()
    return scaled


def _lines(field: np.ndarray, width: float) -> np.ndarray:
    """Where smooth noise crosses zero: thin curved lines, 1 on them and 0 beside."""
    return np.exp(-((field / width) ** 2))


def _step(x: np.ndarray, width: float) -> np.ndarray:
    """Rise from 0 to 1 around 0."""
    return 0.5 + 0.5 * np.tanh(x / (2 * width))


def _tissue(random: np.random.Generator, patient: Patient, down: np.ndarray) -> np.ndarray:
    """Echogenicity of the breast without a lesion, in dB."""
    warp = (
        patient.slope * (np.arange(SIZE, dtype=np.float32) - SIZE / 2)
        + 5 * _field(random, 4, 4)
        + 2.0 * _field(random, 8, 9)
    )
    # The probe presses the skin flat; below it, layers wave.
    depth = down + warp * np.clip(down / 50, 0, 1)
    rows = np.clip(depth, 0, SIZE - 1)
    columns = np.clip(np.arange(SIZE, dtype=np.float32)[None] + 6 * _field(random, 6, 4), 0, SIZE - 1)

    def bent(field: np.ndarray) -> np.ndarray:
        moved: np.ndarray = ndimage.map_coordinates(field, [rows, columns], order=1)
        return moved

    below_fat = _step(depth - patient.fat_end, 2.5)
    below_gland = _step(depth - patient.gland_end, 2.5)
    fat, gland, muscle = 1 - below_fat, below_fat * (1 - below_gland), below_gland
    patches = _field(random, 7, 6)
    uneven = np.clip(0.55 + 0.4 * _field(random, 7, 7), 0, 1.3)

    septa = _lines(bent(_field(random, 15, 4)), 0.14) + 0.6 * _lines(bent(_field(random, 26, 7)), 0.14)
    fibres = bent(_field(random, 64, 14))
    strands = _lines(bent(_field(random, 40, 8)), 0.16)
    striae = bent(_field(random, 80, 6))
    level = fat * (patient.fat + 1.5 * patches + patient.septa * uneven * septa)
    level += gland * (1 + 2.2 * patches + patient.fibrous * fibres + 0.7 * patient.septa * uneven * strands)
    level += muscle * (patient.muscle + 2.5 * striae + 0.8 * patient.septa * uneven * strands)
    level += 7 * uneven * np.exp(-(((depth - patient.fat_end) / 2.0) ** 2))
    level += 11 * uneven * np.exp(-(((depth - patient.gland_end) / 2.2) ** 2))
    for _ in range(random.integers(0, 3)):  # further down, fasciae of the chest wall
        wall = patient.gland_end + random.uniform(15, 60)
        level += random.uniform(4, 10) * uneven * np.exp(-(((depth - wall) / 2.0) ** 2))

    skin = random.uniform(7, 13)
    edge = skin + 1.2 * _field(random, 2, 6)
    dermis = _step(edge - down, 0.8)
    level = level * (1 - dermis) + (-3 + 1.0 * patches) * dermis
    level += 9 * np.exp(-((down / 1.8) ** 2)) + 7 * uneven * np.exp(-(((down - edge) / 1.5) ** 2))
    tissue: np.ndarray = level.astype(np.float32)
    return tissue


def _outline(random: np.random.Generator, lesion: Lesion, angle: np.ndarray) -> np.ndarray:
    """Draw the lesion's radius by direction, 1 on average."""
    table = np.linspace(-np.pi, np.pi, 720, endpoint=False)
    radius = np.ones_like(table)
    for harmonic in (2, 3, 4):  # lobes, as in a fibroadenoma
        radius += random.normal(0, 0.2 / harmonic**1.3) * np.cos(harmonic * table + random.uniform(0, 2 * np.pi))
    for harmonic in range(6, 15):
        radius += (
            lesion.spiculated**2 * random.normal(0, 0.06) * np.cos(harmonic * table + random.uniform(0, 2 * np.pi))
        )
    for _ in range(int(random.integers(9, 17))):
        towards, width = random.uniform(-np.pi, np.pi), random.uniform(0.05, 0.16)
        away = np.abs((table - towards + np.pi) % (2 * np.pi) - np.pi)
        radius += lesion.spiculated**3 * random.uniform(0.0, 0.5) * np.exp(-((away / width) ** 1.4))
    outline: np.ndarray = np.interp(angle, table, radius, period=2 * np.pi).astype(np.float32)
    return outline


def _add_lesion(
    random: np.random.Generator, lesion: Lesion, tissue: np.ndarray, down: np.ndarray, across: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Put a lesion into the tissue: echogenicity, and its effect on the echoes behind it, both in dB."""
    radius = lesion.radius * random.uniform(0.9, 1.1)
    aspect = math.exp(0.5 - 0.75 * lesion.tall + random.normal(0, 0.1))  # width by height
    half_width, half_height = radius * math.sqrt(aspect), radius / math.sqrt(aspect)
    # Most lie in gland: between the skin and the muscle, and entirely in the image if they fit.
    left, right = min(half_width + 12, SIZE / 2), max(SIZE - half_width - 12, SIZE / 2)
    top = half_height + 26
    bottom = max(top, 175 - half_height)
    x0 = left + (right - left) * float(np.clip(lesion.place[0] + random.normal(0, 0.1), 0, 1))
    y0 = top + (bottom - top) * float(np.clip(lesion.place[1] + random.normal(0, 0.06), 0, 1))
    tilt = random.normal(0, 0.2)
    x = ((across - x0) * math.cos(tilt) + (down - y0) * math.sin(tilt)) / half_width
    y = ((down - y0) * math.cos(tilt) - (across - x0) * math.sin(tilt)) / half_height
    angle = np.arctan2(y, x)
    distance = np.hypot(x, y) / _outline(random, lesion, angle)
    edge = 0.035 + 0.11 * lesion.blurred * random.uniform(0.6, 1.4)
    inside = _step(1 - distance + (0.03 + 0.15 * lesion.blurred) * _field(random, 26, 26), edge)

    around = float(np.median(tissue[(distance > 1.05) & (distance < 1.6)]))
    calm = 0.3 if lesion.cyst else 1.0
    level = around - lesion.contrast + calm * (1.2 + 1.2 * lesion.spiculated) * _field(random, 12, 12)
    # A capsule shines where the beam meets it squarely; a halo of pulled-in tissue shines all around.
    capsule = np.exp(-(((distance - 1.04) / 0.04) ** 2)) * np.abs(np.sin(angle)) ** 2
    halo = np.exp(-np.clip(distance - 1, 0, None) / 0.25) * (1 + 0.5 * np.sin(angle * random.integers(9, 19)))
    tissue = tissue * (1 - inside) + level * inside
    tissue += (1 - inside) * (7 * (1 - lesion.halo) * capsule + 6 * lesion.halo * halo)

    # Each column of the beam, by how much of the lesion it has come through.
    through = np.cumsum(inside, axis=0) / radius
    reach = 1 - np.exp(-through)
    strength = random.normal(8, 1.5) - (21 + random.normal(0, 2)) * lesion.shadowing
    if lesion.cyst:
        strength = max(strength, 8.0)
    ragged: np.ndarray = np.clip(1 + 0.35 * _field(random, 2, 24), 0, 2)
    behind = reach * ragged * strength * (1 - inside if strength > 0 else 0.35 + 0.65 * (1 - inside))
    behind *= np.exp(-np.clip(down - y0 - half_height, 0, None) / (130 if strength > 0 else 260))
    # A smooth rounded edge bends the beam away: a thin shadow under each side.
    for side in (-1, 1):
        beside = np.exp(-(((across - x0 - side * half_width * 0.98) / 2.5) ** 2)) * _step(down - y0, 6.0)
        behind -= 5 * (1 - lesion.spiculated) * beside * np.exp(-np.clip(down - y0, 0, None) / 90)
    return tissue, ndimage.gaussian_filter1d(behind, 2.5, axis=1)


def _add_cyst(
    random: np.random.Generator, tissue: np.ndarray, down: np.ndarray, across: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Put in a small cyst, independent of the class: as `_add_lesion`."""
    radius = random.uniform(4, 9)
    x0, y0 = random.uniform(15, SIZE - 15), random.uniform(40, 180)
    distance = np.hypot((across - x0) / (radius * random.uniform(1.0, 1.6)), (down - y0) / radius)
    inside = _step(1 - distance, 0.08)
    behind = 5 * (1 - np.exp(-np.cumsum(inside, axis=0) / radius)) * (1 - inside)
    behind *= np.exp(-np.clip(down - y0, 0, None) / 50)
    return tissue - 20 * inside, ndimage.gaussian_filter1d(behind, 1.5, axis=1)


def _shadow(random: np.random.Generator, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Draw the shadow of a ligament, a nipple or poor contact, in dB."""
    start = random.choice([0.0, random.uniform(25, 130)])
    middle = random.uniform(0, SIZE) + 0.15 * random.normal() * (down - start)
    width = random.uniform(7, 32)
    ragged = np.clip(1 + 0.35 * _field(random, 2, 24), 0, 2)
    band: np.ndarray = -random.uniform(4, 14) * ragged * np.exp(-(((across - middle) / width) ** 2))
    shadow: np.ndarray = band * _step(down - start, 7.0)
    return shadow


def _speckle(random: np.random.Generator) -> np.ndarray:
    """Draw fully developed speckle, `LOOKS` images compounded, in dB about 0.

    A look is the modulus of complex Gaussian noise seen through the point spread function, so Rayleigh distributed
    (Burckhardt, IEEE Trans. Sonics Ultrason. 25(1), 1978); it widens with depth.
    """
    depth = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None]
    power = np.zeros((SIZE, SIZE), np.float32)
    for _ in range(2 * LOOKS):  # a real and an imaginary part each
        noise = random.standard_normal((SIZE, SIZE), dtype=np.float32)
        near = ndimage.gaussian_filter(noise, (0.7, 1.0), truncate=3)
        far = ndimage.gaussian_filter1d(near, 1.5, axis=1, truncate=3)
        # Not np.linalg.norm: BLAS adds in an order that depends on its number of threads.
        near /= np.sqrt(np.mean(near**2))
        far /= np.sqrt(np.mean(far**2))
        # The two correlate, so the middle is somewhat brighter, as a probe's focal zone is.
        mixed = near * np.sqrt(1 - depth) + far * np.sqrt(depth)
        power += mixed**2
    decibels: np.ndarray = 10 * np.log10(power / power.mean() + 1e-3)
    return decibels


def _set_gain(echo: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    """Map dB to grey so that, clipping included, the image has this mean and deviation; uint8."""
    echo = (echo - echo.mean()) / echo.std()
    gain, offset = deviation, mean
    for _ in range(5):
        grey = np.clip(gain * echo + offset, 0, 255)
        gain *= deviation / grey.std()
        offset += mean - grey.mean()
    return np.round(np.clip(gain * echo + offset, 0, 255)).astype(np.uint8)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _sizes(root: Path) -> Iterator[tuple[str, int]]:
    """Every file under the root but the marker and system files, with its size."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(root)
            if not is_junk(relative) and relative != Path(MARKER_NAME):
                yield relative.as_posix(), path.lstat().st_size
