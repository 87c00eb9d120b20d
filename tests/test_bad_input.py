"""Every mistake a user can make at the training door: one sentence, exit code 2, and nothing left behind."""

import shutil

import pytest

from medcls import train


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Run the door on arguments that must be refused; gives what was said."""

    def run(*arguments: str) -> str:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        monkeypatch.chdir(home)
        monkeypatch.setattr("sys.argv", ["medcls.train", "data.image_size=32", "trainer.max_epochs=1", *arguments])
        with pytest.raises(SystemExit) as stop:
            train.main()
        said = capsys.readouterr()
        assert stop.value.code == 2, said.out + said.err
        assert "Traceback" not in said.err
        assert not list(home.rglob("*")), "something was left behind"
        return said.err

    return run


@pytest.fixture
def root(folder):
    return folder({"benign": 12, "malignant": 12})


def test_missing_root(refused, tmp_path):
    assert "There is no folder" in refused(f"data.root={tmp_path}/nowhere", "positive_class=x")


def test_root_not_given(refused):
    assert "data.root" in refused("positive_class=x")


def test_empty_root(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "is empty" in refused(f"data.root={tmp_path}/empty")


def test_one_class(refused, folder):
    assert "one class folder" in refused(f"data.root={folder({'only': 5})}")


def test_a_fused_optimizer_cannot_clip_scaled_gradients(refused, root):
    said = refused(
        f"data.root={root}", "positive_class=benign", "trainer.precision=bf16-mixed", "trainer.gradient_clip_val=1"
    )
    assert "optimizer.fused=false" in said


def test_class_empty_or_missing_in_one_split(refused, folder):
    root = folder({"train/a": 5, "train/b": 5, "test/a": 2})
    assert "test: there is no folder for class 'b'" in refused(f"data.root={root}", "positive_class=a")
    (root / "test" / "b").mkdir()
    assert "test: the folder of class 'b' holds no image" in refused(f"data.root={root}", "positive_class=a")


def test_unreadable_images_are_all_listed(refused, root):
    whole = (root / "benign" / "000.png").read_bytes()
    (root / "benign" / "cut.png").write_bytes(whole[:200])
    (root / "benign" / "empty.jpg").write_bytes(b"")
    (root / "malignant" / "page.jpg").write_text("<html>404 not found</html>")
    said = refused(f"data.root={root}", "positive_class=malignant")
    assert all(name in said for name in ("3 of 27", "cut.png", "empty.jpg", "page.jpg", "HTML"))


@pytest.mark.slow
def test_p31_unknown_monitor(refused, root):
    said = refused(f"data.root={root}", "positive_class=malignant", "monitor=val_acc")
    assert "val_acc" in said
    assert "val/accuracy" in said


@pytest.mark.slow
@pytest.mark.parametrize(("monitor", "mode"), [("val/loss", "max"), ("val/auroc", "min"), ("val/n", "max")])
def test_a_monitor_that_would_choose_the_worst_or_nothing(refused, root, monitor, mode):
    said = refused(f"data.root={root}", "positive_class=malignant", f"monitor={monitor}", f"monitor_mode={mode}")
    assert monitor in said


def test_default_data_missing_is_the_only_case_for_phantoms(refused, tmp_path):
    assert "There is no folder" in refused("data=breast_cancer", f"data.root={tmp_path}/typo")
    assert not (tmp_path / "typo").exists()


@pytest.mark.slow
def test_a_network_that_cannot_take_the_size(refused, root):
    assert "32" in refused(f"data.root={root}", "positive_class=malignant", "model=inception_v3")


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["[blokcs.*]", "[backbone, head]"])
def test_a_later_phase_that_cannot_be(refused, root, freeze):
    phases = f"schedule.phases=[{{epochs: 5, freeze: []}}, {{epochs: null, freeze: {freeze}}}]"
    said = refused(f"data.root={root}", "positive_class=malignant", phases)
    assert "matches no parameter" in said or "nothing trains" in said


def test_a_run_folder_among_the_images(refused, root):
    said = refused(f"data.root={root}", "positive_class=malignant", f"hydra.run.dir={root}/runs/x")
    assert "within the folder of images" in said


@pytest.mark.slow
def test_monitor_mode_that_is_none(refused, root):
    assert "monitor_mode" in refused(f"data.root={root}", "positive_class=malignant", "monitor_mode=best")


def test_unknown_model_name(refused, root):
    said = refused(f"data.root={root}", "positive_class=malignant", "model=torchvision", "model.name=mobilenet_v9")
    assert "mobilenet_v" in said.split("Did you mean")[1]


def test_unknown_model_configuration(refused):
    assert "mobilenetv9" in refused("model=mobilenetv9")


def test_unknown_setting(refused):
    assert "max_epoch" in refused("trainer.max_epoch=3")


def test_freeze_pattern_that_matches_nothing(refused, root):
    said = refused(
        f"data.root={root}", "positive_class=malignant", "schedule.phases=[{epochs: null, freeze: [blokcs.*]}]"
    )
    assert "blokcs" in said


@pytest.mark.slow
def test_p25_frozen_but_never_loaded(refused, root):
    said = refused(f"data.root={root}", "positive_class=malignant", "schedule=head_only")
    assert "never loaded" in said or "random" in said


@pytest.mark.slow
def test_weights_of_another_network(refused, root, tmp_path):
    import torch

    torch.save({"conv.weight": torch.zeros(3, 3)}, tmp_path / "other.pt")
    said = refused(f"data.root={root}", "positive_class=malignant", f"model.weights={tmp_path}/other.pt")
    assert "other.pt" in said


@pytest.mark.slow
def test_p60_weights_with_code_in_them(refused, root, tmp_path):
    import pickle

    class Trap:
        def __reduce__(self):
            return print, ("executed",)

    (tmp_path / "trap.pt").write_bytes(pickle.dumps(Trap()))
    assert "trap.pt" in refused(f"data.root={root}", "positive_class=malignant", f"model.weights={tmp_path}/trap.pt")


@pytest.mark.slow
def test_default_weights_offline(refused, root, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    said = refused(f"data.root={root}", "positive_class=malignant", "model.weights=default")
    assert "mobilenet_v3_large" in said
    assert "model.weights=" in said
    assert not list((tmp_path / "cache").rglob("*.pth*"))


def test_positive_class_not_named_or_unknown(refused, root):
    said = refused(f"data.root={root}")
    assert "positive_class=benign" in said
    assert "positive_class=malignant" in said
    assert "Did you mean malignant" in refused(f"data.root={root}", "positive_class=malignent")


def test_several_labels_a_picture_are_out_of_scope(refused, folder):
    said = refused(f"data.root={folder({'edema': 4, 'mass': 4, 'edema|mass': 4})}")
    assert "out of scope" in said


def test_numbers_as_labels_are_out_of_scope(refused, folder):
    assert "out of scope" in refused(f"data.root={folder({'0.1': 3, '0.25': 3, '3.5': 3})}")


def test_one_picture_under_two_labels(refused, root):
    shutil.copy(root / "benign" / "000.png", root / "malignant" / "same.png")
    assert "more than one label" in refused(f"data.root={root}", "positive_class=malignant")


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
        "data.folds=5",
        "trainer.max_epochs=0",
        "optimizer.lr=-1",
        "seed=abc",
        "ema=2",
        "trainer.devices=2",
        "trainer.accelerator=gpux",
        "trainer.precision=foo",
        "trainer.accumulate_grad_batches=0",
        "data.workers=-1",
        "data.val_fraction=abc",
        "data.label_map=foo",
        "early_stopping=abc",
        "compile=maybe",
        "ema=abc",
        "scheduler.warmup=abc",
        "loss.label_smoothing=abc",
        "model.network.in_chans=2",
    ],
)
def test_values_that_make_no_sense(refused, root, setting):
    assert setting.split("=")[0].split(".")[-1] in refused(f"data.root={root}", "positive_class=malignant", setting)


def test_a_value_with_odd_characters_shows_the_form_to_type(refused):
    assert "\"data.name='数据=1'\"" in refused("data.name=数据=1")


def test_a_path_with_odd_characters_is_taken_as_typed(refused):
    assert "There is no folder /data/数据=1 " in refused("data.root=/data/数据=1")


def test_resume_without_a_run(refused, tmp_path):
    assert "holds no run" in refused(f"resume={tmp_path}/nothing")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("operating_point=sensitivity>=95", "'95' should be a share"),
        ("operating_point=youdn", "Did you mean youden"),
        ("coverage=90", "coverage is 90"),
        ("calibrate=maybe", "calibrate is 'maybe'"),
        ("aggregate=average", "aggregate is 'average'"),
        ("subgroups=[sex]", "no column 'sex'"),
        ("subgroups={path: {every: 3}}", "hold no number"),
        ("prevalence=malignant", "prevalence is 'malignant'"),
        ("prevalence={malign: 0.1}", "Did you mean malignant"),
        ("ordered=[mild, severe]", "name each once"),
        ("report.images=1", "report.images is 1"),
        ("report.paths=hide", "report.paths is 'hide'"),
        ("data.calibration_fraction=1.5", "data.calibration_fraction is 1.5"),
    ],
)
def test_how_results_are_told_is_checked_before_anything_is_trained(refused, root, setting, says):
    assert says in refused(f"data.root={root}", "positive_class=malignant", setting)


def test_patients_whose_images_disagree_are_found_before_anything_is_trained(refused, folder):
    root = folder({"a": 12, "b": 12, "c": 12})
    said = refused(f"data.root={root}", r"data.group_pattern='(\d)\.png'", "aggregate=mean")
    assert "under several labels" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            ["model.head={poolin: max}"],
            "model.head.poolin: medcls.models.zoo.replace_head takes no 'poolin'.",
        ),
        (["+optimizer.momentun=0.9"], "optimizer.momentun: torch.optim.adamw.AdamW takes no 'momentun'"),
        (["optimizer.lr=fast"], "optimizer.lr is 'fast': torch.optim.adamw.AdamW takes float | torch.Tensor"),
        (
            ["+scheduler.warm=1"],
            "scheduler.warm: medcls.learning.schedulers.cosine takes no 'warm'.",
        ),
        (["optimizer._target_=torch.optim.AdamX"], "optimizer._target_=torch.optim.AdamX cannot be built"),
        (["+model.network.num_classes=3"], "model.network.num_classes comes from the run itself"),
        (["~data.cache"], "Interpolation key 'data.cache' not found"),
        (["~data.resize"], "data.resize"),
    ],
)
def test_settings_that_do_not_fit_what_takes_them(refused, root, settings, says):
    assert says in refused(f"data.root={root}", "positive_class=malignant", *settings)


@pytest.mark.parametrize("error", [KeyError("label"), TypeError("deep inside"), ValueError("embedded null byte")])
def test_a_fault_of_the_program_is_not_dressed_up_as_a_setting(root, monkeypatch, capsys, error):
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
    assert "does not take its settings" not in said
    assert not (root.parent / "runs").exists()
