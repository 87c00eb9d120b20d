"""Mistakes in the training command: one message, exit code 2, and nothing left behind."""

import shutil

import pytest
from refusals import refused_command

from medcls import train


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Run the command on arguments that must be refused: by an error of a kind, which names each of these."""

    def run(kind: str, names: tuple[str, ...], *arguments: str) -> None:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        monkeypatch.chdir(home)
        error = refused_command(kind, names, train.main, "data.image_size=32", "trainer.max_epochs=1", *arguments)
        printed = capsys.readouterr().err
        assert f"medcls: {error}" in printed and "Traceback" not in printed
        assert not list(home.rglob("*")), "something was left behind"

    return run


@pytest.fixture
def misunderstood(tmp_path, monkeypatch, capsys):
    """Run the command on arguments that Hydra makes nothing of; gives what was printed."""

    def run(*arguments: str) -> str:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        monkeypatch.chdir(home)
        monkeypatch.setattr("sys.argv", ["medcls.train", "data.image_size=32", "trainer.max_epochs=1", *arguments])
        with pytest.raises(SystemExit) as stop:
            train.main()
        printed = capsys.readouterr().err
        assert stop.value.code == 2, printed
        assert printed.strip().startswith("medcls: ") and "Traceback" not in printed
        assert not list(home.rglob("*")), "something was left behind"
        return printed

    return run


@pytest.fixture
def root(folder):
    return folder({"benign": 12, "malignant": 12})


def test_missing_root(refused, tmp_path):
    refused("no_such_folder", ("data.root", f"{tmp_path}/nowhere"), f"data.root={tmp_path}/nowhere", "positive_class=x")


def test_root_not_given(refused):
    refused("no_images_named", ("data.root=",), "positive_class=x")


def test_empty_root(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    refused("no_images", ("data.root", f"{tmp_path}/empty"), f"data.root={tmp_path}/empty")


def test_one_class(refused, folder):
    refused("one_class", ("'only'",), f"data.root={folder({'only': 5})}")


def test_a_fused_optimizer_cannot_clip_scaled_gradients(refused, root):
    refused(
        "conflicting_settings", ("trainer.gradient_clip_val", "trainer.precision=bf16-mixed", "optimizer.fused=false"),
        f"data.root={root}", "positive_class=benign", "trainer.precision=bf16-mixed", "trainer.gradient_clip_val=1",
    )  # fmt: skip


def test_class_empty_or_missing_in_one_split(refused, folder):
    root = folder({"train/a": 5, "train/b": 5, "test/a": 2})
    refused("missing_class", ("test:", "'b'", str(root)), f"data.root={root}", "positive_class=a")
    (root / "test" / "b").mkdir()
    refused("missing_class", ("test:", "'b'", str(root)), f"data.root={root}", "positive_class=a")


def test_unreadable_images_are_all_listed(refused, root):
    whole = (root / "benign" / "000.png").read_bytes()
    (root / "benign" / "cut.png").write_bytes(whole[:200])
    (root / "benign" / "empty.jpg").write_bytes(b"")
    (root / "malignant" / "page.jpg").write_text("<html>404 not found</html>")
    names = ("3 of 27", "cut.png", "empty.jpg", "page.jpg", "HTML")
    refused("unreadable_image", names, f"data.root={root}", "positive_class=malignant")


@pytest.mark.slow
def test_p31_unknown_monitor(refused, root):
    names = ("val_acc", "val/accuracy")
    refused("unknown_metric", names, f"data.root={root}", "positive_class=malignant", "monitor=val_acc")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("monitor", "mode", "kind"),
    [
        ("val/loss", "max", "conflicting_settings"),
        ("val/auroc", "min", "conflicting_settings"),
        ("val/n", "max", "constant_metric"),
    ],
)
def test_a_monitor_that_would_choose_the_worst_or_nothing(refused, root, monitor, mode, kind):
    settings = (f"monitor={monitor}", f"monitor_mode={mode}")
    refused(kind, (monitor,), f"data.root={root}", "positive_class=malignant", *settings)


def test_default_data_missing_is_the_only_case_for_phantoms(refused, tmp_path):
    refused("no_such_folder", ("data.root", f"{tmp_path}/typo"), "data=breast_cancer", f"data.root={tmp_path}/typo")
    assert not (tmp_path / "typo").exists()


@pytest.mark.slow
def test_a_network_that_cannot_take_the_size(refused, root):
    refused("unfit_input_size", ("32",), f"data.root={root}", "positive_class=malignant", "model=inception_v3")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("freeze", "kind", "name"),
    [("[blokcs.*]", "pattern_matches_nothing", "blokcs"), ("[backbone, head]", "nothing_trains", "2")],
)
def test_a_later_phase_that_cannot_be(refused, root, freeze, kind, name):
    phases = f"schedule.phases=[{{epochs: 5, freeze: []}}, {{epochs: null, freeze: {freeze}}}]"
    refused(kind, (name,), f"data.root={root}", "positive_class=malignant", phases)


def test_a_run_folder_among_the_images(refused, root):
    names = (f"{root}/runs/x", f"data.root={root}", "hydra.run.dir")
    refused("run_folder_among_images", names, *names[1:2], "positive_class=malignant", f"hydra.run.dir={root}/runs/x")


@pytest.mark.slow
def test_monitor_mode_that_is_none(refused, root):
    names = ("monitor_mode", "best")
    refused("bad_value", names, f"data.root={root}", "positive_class=malignant", "monitor_mode=best")


def test_unknown_model_name(refused, root):
    names = ("'mobilenet_v9'", "mobilenet_v3_large")
    settings = ("model=torchvision", "model.name=mobilenet_v9")
    refused("unknown_network", names, f"data.root={root}", "positive_class=malignant", *settings)


def test_unknown_model_configuration(misunderstood):
    assert "mobilenetv9" in misunderstood("model=mobilenetv9")


def test_unknown_setting(misunderstood):
    assert "max_epoch" in misunderstood("trainer.max_epoch=3")


def test_freeze_pattern_that_matches_nothing(refused, root):
    phases = "schedule.phases=[{epochs: null, freeze: [blokcs.*]}]"
    refused("pattern_matches_nothing", ("'blokcs.*'",), f"data.root={root}", "positive_class=malignant", phases)


@pytest.mark.slow
def test_p25_frozen_but_never_loaded(refused, root):
    refused("frozen_at_random", (), f"data.root={root}", "positive_class=malignant", "schedule=head_only")


@pytest.mark.slow
def test_weights_of_another_network(refused, root, tmp_path):
    import torch

    torch.save({"conv.weight": torch.zeros(3, 3)}, tmp_path / "other.pt")
    weights = f"model.weights={tmp_path}/other.pt"
    refused("weights_of_another_network", ("other.pt",), f"data.root={root}", "positive_class=malignant", weights)


@pytest.mark.slow
def test_p60_weights_with_code_in_them(refused, root, tmp_path):
    import pickle

    class Trap:
        def __reduce__(self):
            return print, ("executed",)

    (tmp_path / "trap.pt").write_bytes(pickle.dumps(Trap()))
    weights = f"model.weights={tmp_path}/trap.pt"
    refused("unsafe_file", ("trap.pt",), f"data.root={root}", "positive_class=malignant", weights)


@pytest.mark.slow
def test_default_weights_offline(refused, root, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    names = ("mobilenet_v3_large", "model.weights=")
    refused("download_failed", names, f"data.root={root}", "positive_class=malignant", "model.weights=default")
    assert not list((tmp_path / "cache").rglob("*.pth*"))


def test_positive_class_not_named_or_unknown(refused, root):
    refused("missing_setting", ("positive_class=benign", "positive_class=malignant"), f"data.root={root}")
    names = ("positive_class", "'malignent'", "'malignant'")
    refused("unknown_class", names, f"data.root={root}", "positive_class=malignent")


def test_several_labels_per_image_are_out_of_scope(refused, folder):
    root = folder({"edema": 4, "mass": 4, "edema|mass": 4})
    refused("out_of_scope", ("'edema|mass'",), f"data.root={root}")


def test_numbers_as_labels_are_out_of_scope(refused, folder):
    refused("out_of_scope", ("'0.25'",), f"data.root={folder({'0.1': 3, '0.25': 3, '3.5': 3})}")


def test_one_image_with_two_labels(refused, root):
    shutil.copy(root / "benign" / "000.png", root / "malignant" / "same.png")
    names = ("benign/000.png", "malignant/same.png", "data.exclude")
    refused("image_under_two_labels", names, f"data.root={root}", "positive_class=malignant")


@pytest.mark.parametrize(
    "setting",
    [
        "data.batch_size=0",
        "data.batch_size=many",
        "data.val_fraction=2",
        "data.copies=keep",
        "data.sampler=weighted",
        "data.augmentation.rotation_degrees=900",
        "data.image_size=-3",
        "data.resize=stretch",
        "trainer.max_epochs=0",
        "seed=abc",
        "ema=2",
        "trainer.accelerator=gpux",
        "trainer.precision=foo",
        "optimizer.lr=-1",
        "trainer.accumulate_grad_batches=0",
        "data.workers=-1",
        "data.val_fraction=abc",
        "data.label_map=foo",
        "early_stopping=abc",
        "compile=maybe",
        "ema=abc",
        "scheduler.warmup=abc",
        "loss.label_smoothing=abc",
    ],
)
def test_values_that_make_no_sense(refused, root, setting):
    name = setting.split("=")[0].split(".")[-1]
    refused("bad_value", (name,), f"data.root={root}", "positive_class=malignant", setting)


def test_a_number_of_folds_alone_names_none(refused, root):
    names = ("data.folds", "data.fold ")
    refused("missing_setting", names, f"data.root={root}", "positive_class=malignant", "data.folds=5")


def test_channels_that_the_preprocessing_has_not(refused, root):
    names = ("model.network.in_chans", "model.preprocessing")
    refused("channels_do_not_fit", names, f"data.root={root}", "positive_class=malignant", "model.network.in_chans=2")


def test_a_value_with_odd_characters_shows_the_form_to_type(refused):
    refused("needs_quotes", ("\"data.name='数据=1'\"",), "data.name=数据=1")


def test_a_path_with_odd_characters_is_taken_as_typed(refused):
    refused("no_such_folder", (" /data/数据=1 ",), "data.root=/data/数据=1")


def test_resume_without_a_run(refused, tmp_path):
    refused("nothing_to_resume", (f"resume={tmp_path}/nothing", "last.ckpt"), f"resume={tmp_path}/nothing")


@pytest.mark.parametrize(
    ("setting", "kind", "names"),
    [
        ("operating_point=sensitivity>=95", "bad_value", ("'sensitivity>=95'", "'95'")),
        ("operating_point=youdn", "bad_value", ("'youdn'", " youden")),
        ("coverage=90", "bad_value", ("coverage", "90")),
        ("calibrate=maybe", "bad_value", ("calibrate", "'maybe'")),
        ("aggregate=average", "bad_value", ("aggregate", "'average'")),
        ("subgroups=[sex]", "unknown_column", ("'sex'",)),
        ("subgroups={path: {every: 3}}", "not_a_number", ("path", ".png'")),
        ("prevalence=malignant", "bad_value", ("prevalence", "'malignant'")),
        ("prevalence={malign: 0.1}", "unknown_class", ("'malign'", "malignant")),
        ("ordered=[mild, severe]", "different_classes", ("mild, severe", "benign, malignant")),
        ("report.images=1", "bad_value", ("report.images", "1")),
        ("report.paths=hide", "bad_value", ("report.paths", "'hide'")),
        ("data.calibration_fraction=1.5", "bad_value", ("data.calibration_fraction", "1.5")),
    ],
)
def test_report_settings_are_checked_before_training(refused, root, setting, kind, names):
    refused(kind, names, f"data.root={root}", "positive_class=malignant", setting)


def test_patients_whose_images_disagree_are_found_before_anything_is_trained(refused, folder):
    root = folder({"a": 12, "b": 12, "c": 12})
    refused("mixed_unit", ("'group'",), f"data.root={root}", r"data.group_pattern='(\d)\.png'", "aggregate=mean")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "kind", "names"),
    [
        ("model.head={poolin: max}", "bad_value", ("model.head.poolin", "medcls.models.zoo.replace_head")),
        ("+optimizer.momentun=0.9", "bad_value", ("optimizer.momentun", "torch.optim.adamw.AdamW")),
        ("optimizer.lr=fast", "bad_value", ("optimizer.lr", "'fast'", "torch.optim.adamw.AdamW", "float")),
        ("+scheduler.warm=1", "bad_value", ("scheduler.warm", "medcls.learning.schedulers.cosine")),
        ("optimizer._target_=torch.optim.AdamX", "unknown_target", ("optimizer._target_=torch.optim.AdamX",)),
        ("+model.network.num_classes=3", "setting_of_the_run", ("model.network.num_classes",)),
    ],
)
def test_settings_that_do_not_fit_what_takes_them(refused, root, setting, kind, names):
    refused(kind, names, f"data.root={root}", "positive_class=malignant", setting)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data.cache", "data.resize"])
def test_settings_that_were_taken_away(misunderstood, root, name):
    assert name in misunderstood(f"data.root={root}", "positive_class=malignant", f"~{name}")


@pytest.mark.parametrize("error", [KeyError("label"), TypeError("deep inside"), ValueError("embedded null byte")])
def test_a_programming_error_is_not_reported_as_a_wrong_setting(root, monkeypatch, capsys, error):
    def break_down(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("medcls.data.sources.assembly.assemble", break_down)
    monkeypatch.setattr("medcls.data.sources.folders.assemble", break_down, raising=False)
    monkeypatch.setattr("sys.argv", ["medcls.train", f"data.root={root}", "positive_class=malignant"])
    monkeypatch.chdir(root.parent)
    with pytest.raises(SystemExit) as stop:
        train.main()
    said = capsys.readouterr().err
    assert stop.value.code == 1
    assert "Traceback" in said and f"{type(error).__name__}: {error}" in said and "break_down" in said
    assert "medcls: " not in said
    assert not (root.parent / "runs").exists()
