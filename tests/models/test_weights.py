"""Weights: the account of every tensor, files that are refused, downloads from a local server."""

import dataclasses
import hashlib
import http.server
import logging
import threading

import pytest
import safetensors.torch
import torch
import torchvision
from refusals import logged, noted, refused, rules
from torch import nn

from medcls.learning.freezing import names_matching
from medcls.models import weights
from medcls.models.mobilenetv3 import mobilenetv3_large, mobilenetv3_small
from medcls.models.weights import check_frozen, download, load_weights, read_state
from medcls.models.zoo import (
    PublishedWeights,
    head_name,
    replace_head,
    timm_network,
    torchvision_network,
    torchvision_preprocessing,
)
from medcls.preprocessing import Preprocessing

IMAGENET = Preprocessing(96, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
GREY = Preprocessing(96, (0.3,), (0.2,))


@pytest.fixture(scope="module")
def large_file(tmp_path_factory):
    """A file with the names and shapes of torchvision's published weights; nobody writes into it."""
    path = tmp_path_factory.mktemp("weights") / "large.pth"
    torch.save(torchvision.models.mobilenet_v3_large(weights=None).state_dict(), path)
    return path


def run_folder(tmp_path, network, classes=("benign", "malignant"), preprocessing=IMAGENET):
    """A run folder as a run leaves it."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    state["loss.weight"] = torch.ones(2)
    described = {"classes": list(classes), "preprocessing": preprocessing.to_plain()}
    torch.save({"state_dict": state, "medcls": described, "epoch": 3}, folder / "checkpoints" / "best.ckpt")
    return folder


# The account


def test_account_of_published_weights_for_other_classes(large_file):
    network = mobilenetv3_large(2)
    before = network.classifier[-1].weight.clone()
    account = load_weights(network, large_file)
    assert noted([str(account)], "310/312", "last layer", "(2)")
    assert account.reinitialised == {"last layer": ("classifier.3.weight", "classifier.3.bias")}
    assert torch.equal(network.classifier[-1].weight, before)
    loaded = torch.load(large_file, weights_only=True)
    assert torch.equal(network.stem.conv.weight, loaded["features.0.0.weight"])
    assert torch.equal(network.classifier[0].weight, loaded["classifier.0.weight"])


def test_account_of_all_tensors(large_file):
    account = load_weights(mobilenetv3_large(1000), large_file)
    assert noted([str(account)], "312/312") and "(" not in str(account)
    assert account.loaded == account.names


def test_account_as_plain_data(large_file):
    plain = load_weights(mobilenetv3_large(2), large_file).to_plain()
    assert plain["sha256"] == hashlib.sha256(large_file.read_bytes()).hexdigest()
    assert (plain["tensors"], plain["loaded"], plain["left_over"]) == (312, 310, [])
    assert plain["random"] == ["classifier.3.weight", "classifier.3.bias"]
    assert plain["source"] == str(large_file)


def test_account_of_nothing_names_the_setting():
    account = load_weights(mobilenetv3_small(2), None)
    assert noted([str(account)], "244", "model.weights=default")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("inception_v3", 14), ("googlenet", 20)])
def test_account_names_the_auxiliary_head_that_is_left_out(tmp_path, name, count):
    published = torchvision.models.get_model(name, weights=None, aux_logits=True, init_weights=False)
    torch.save(published.state_dict(), tmp_path / "published.pth")
    network = torchvision_network(name, 2)
    account = load_weights(network, tmp_path / "published.pth")
    auxiliary = [key for key in published.state_dict() if key.startswith(("Aux", "aux"))]
    assert list(account.left_out["auxiliary head"]) == auxiliary
    assert noted([str(account)], "auxiliary head", f"({len(auxiliary)})")
    assert len(auxiliary) == count
    assert len(account.loaded) == len(account.names) - 2


def test_account_of_a_replaced_head(large_file):
    network = mobilenetv3_large(2)
    head = replace_head(network, 2, "max", hidden=16)
    account = load_weights(network, large_file, head=head)
    assert noted([str(account)], "308/312", "head", "(4)")
    assert len(account.left_out["head"]) == 4


def test_a_replaced_head_never_takes_a_tensor_that_fits_by_accident(tmp_path):
    """EfficientNet's last layer is classifier.1; so is a hidden layer of 1000 units in a new head."""
    torch.save(torchvision.models.efficientnet_b0(weights=None).state_dict(), tmp_path / "b0.pth")
    network = torchvision_network("efficientnet_b0", 2)
    head = replace_head(network, 2, hidden=1000)
    account = load_weights(network, tmp_path / "b0.pth", head=head)
    assert not [name for name in account.loaded if name.startswith("classifier.")]


def test_another_heads_weights_are_an_error_where_the_head_was_kept(tmp_path):
    other = mobilenetv3_large(2, width=0.35)
    replace_head(other, 2, hidden=16)
    torch.save(other.state_dict(), tmp_path / "other.pth")
    with refused("weights_of_another_network", "other.pth", "classifier.1.weight"):
        load_weights(mobilenetv3_large(2, width=0.35), tmp_path / "other.pth")


@pytest.mark.parametrize("source", ["folder", "file"])
def test_a_run_gives_all_its_weights(tmp_path, source):
    trained = mobilenetv3_small(2, width=0.35)
    folder = run_folder(tmp_path, trained)
    network = mobilenetv3_small(2, width=0.35)
    path = folder if source == "folder" else folder / "checkpoints" / "best.ckpt"
    account = load_weights(network, path, classes=["benign", "malignant"], preprocessing=IMAGENET)
    assert len(account.loaded) == len(account.names)
    assert account.notes == ()
    wanted = trained.state_dict()
    assert all(torch.equal(wanted[name], tensor) for name, tensor in network.state_dict().items())


def test_a_run_on_other_classes_gives_no_last_layer(tmp_path):
    folder = run_folder(tmp_path, mobilenetv3_small(2, width=0.35))
    network = mobilenetv3_small(2, width=0.35)
    account = load_weights(network, folder, classes=["normal", "pneumonia"])
    assert account.reinitialised == {"last layer": ("classifier.3.weight", "classifier.3.bias")}
    assert "benign, malignant" in account.notes[0]


def test_safetensors(tmp_path):
    trained = timm_network("resnet10t", 5)
    safetensors.torch.save_file(trained.state_dict(), tmp_path / "model.safetensors")
    network = timm_network("resnet10t", 2)
    account = load_weights(network, tmp_path / "model.safetensors")
    assert account.reinitialised == {"last layer": ("fc.weight", "fc.bias")}
    assert torch.equal(network.conv1[0].weight, trained.conv1[0].weight)


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        ("densenet121", {".norm1.": ".norm.1.", ".conv2.": ".conv.2."}),
        pytest.param("vit_b_16", {".mlp.0.": ".mlp.linear_1.", ".mlp.3.": ".mlp.linear_2."}, marks=pytest.mark.slow),
    ],
)
def test_torchvisions_oldest_files_are_renamed_as_it_renames_them(tmp_path, name, renamed):
    published = torchvision.models.get_model(name, weights=None)
    state = {key: t for key, t in published.state_dict().items() if not key.endswith("num_batches_tracked")}
    for new, old in renamed.items():
        state = {key.replace(new, old): tensor for key, tensor in state.items()}
    assert state.keys() - published.state_dict().keys()
    torch.save(state, tmp_path / "old.pth")
    network = torchvision_network(name, 2)
    account = load_weights(network, tmp_path / "old.pth")
    assert len(account.loaded) == len(account.names) - 2
    key = next(key for key in published.state_dict() if next(iter(renamed)) in key)
    assert torch.equal(network.state_dict()[key], published.state_dict()[key])


# What is refused


def test_p25_the_tutorials_loading_is_refused(tmp_path, large_file):
    """`strict=False` onto a network of other names loaded 0 of 308 tensors without a word."""
    tutorial = mobilenetv3_large(2, variant="tutorial")
    with refused("weights_of_another_network", str(large_file)):
        load_weights(tutorial, large_file)
    renamed = {f"x.{name}": t for name, t in torch.load(large_file, weights_only=True).items()}
    torch.save(renamed, tmp_path / "renamed.pth")
    with refused("weights_of_another_network", " 0 ", " 312 "):
        load_weights(mobilenetv3_large(2), tmp_path / "renamed.pth")


def test_p25_a_refusal_changes_nothing(large_file):
    network = mobilenetv3_large(2, width=0.75)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with refused("weights_of_another_network", "blocks.1.expand"):
        load_weights(network, large_file)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("mistake", ["missing", "extra", "shape"])
def test_p25_a_single_wrong_tensor_is_named(tmp_path, large_file, mistake):
    state = torch.load(large_file, weights_only=True)
    name = "features.4.block.1.0.weight"
    if mistake == "extra":
        state["surplus.weight"] = torch.zeros(3)
    elif mistake == "missing":
        del state[name]
    else:
        state[name] = state[name][:, :, 1:, 1:]
    torch.save(state, tmp_path / "wrong.pth")
    names = {"missing": ("blocks.3.depthwise", "311"), "extra": ("surplus.weight", "312 of the 312")}
    with refused("weights_of_another_network", *names.get(mistake, ("blocks.3.depthwise.conv.weight", "4, 4", "5, 5"))):
        load_weights(mobilenetv3_large(1000), tmp_path / "wrong.pth")


def test_p25_frozen_and_never_loaded_stops_the_run(large_file):
    network = mobilenetv3_large(2)
    blocks = [name for name, _ in network.named_parameters() if name.startswith("blocks.")]
    with refused("frozen_at_random", f"{len(blocks)} ", blocks[0], "model.weights=default", "schedule=none"):
        check_frozen(load_weights(network, None), blocks)
    account = load_weights(network, large_file)
    check_frozen(account, blocks)
    with refused("frozen_at_random", "1 ", "classifier.3.bias"):
        check_frozen(account, [*blocks, "classifier.3.bias"])


def test_frozen_at_random_on_request_is_recorded_and_logged(large_file, caplog):
    network = mobilenetv3_large(2)
    blocks = [name for name, _ in network.named_parameters() if name.startswith("blocks.")]
    account = check_frozen(load_weights(network, None), blocks, allow_random=True)
    assert account.frozen_at_random == tuple(blocks)
    assert account.to_plain()["frozen_at_random"] == blocks
    assert noted(logged(caplog, "frozen_at_random"), str(len(blocks)), "freeze_random_weights")
    caplog.clear()
    loaded = check_frozen(load_weights(network, large_file), blocks, allow_random=True)
    assert loaded.frozen_at_random == () and not rules(caplog)


@pytest.mark.slow
def test_p25_a_network_with_constants_that_no_file_holds_may_be_frozen(tmp_path):
    """Swin keeps masks and index tables as buffers that are not saved: nothing of it stays random."""
    torch.save(timm_network("swin_tiny_patch4_window7_224", 5).state_dict(), tmp_path / "swin.pth")
    network = timm_network("swin_tiny_patch4_window7_224", 2)
    account = load_weights(network, tmp_path / "swin.pth")
    frozen = names_matching(network, "backbone", head_name(network))
    assert len(frozen) == len(account.names) - 2
    check_frozen(account, frozen)


class Mischief:
    def __reduce__(self):
        return print, ("code in a weight file ran",)


def test_p60_a_file_with_code_in_it_is_refused(tmp_path, capsys):
    torch.save({"features.0.0.weight": Mischief()}, tmp_path / "evil.pth")
    with refused("unsafe_file", "evil.pth", "torch.save(model.state_dict()"):
        load_weights(mobilenetv3_small(2), tmp_path / "evil.pth")
    torch.save(mobilenetv3_small(2), tmp_path / "module.pth")
    with refused("unsafe_file", "module.pth"):
        load_weights(mobilenetv3_small(2), tmp_path / "module.pth")
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", None])
def test_a_damaged_file_is_named(tmp_path, large_file, content):
    path = tmp_path / "damaged.pth"
    path.write_bytes(large_file.read_bytes()[:100_000] if content is None else content)
    with refused("damaged_weights" if content is None else "not_weights", "damaged.pth"):
        load_weights(mobilenetv3_large(2), path)


def prefixed(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def test_a_prefix_is_taken_off_the_names_of_torchvisions_mobilenet_too(tmp_path, large_file):
    torch.save(prefixed(torch.load(large_file, weights_only=True), "module."), tmp_path / "x.pth")
    assert "310/312" in str(load_weights(mobilenetv3_large(2), tmp_path / "x.pth"))


def test_what_is_no_state_dict_is_named(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "epoch.pth")
    with refused("not_weights", "epoch.pth", "torch.save(model.state_dict()"):
        load_weights(mobilenetv3_small(2), tmp_path / "epoch.pth")


def test_missing_paths_are_named(tmp_path):
    with refused("no_such_file", f"model.weights={tmp_path / 'nothing.pth'}"):
        load_weights(mobilenetv3_small(2), tmp_path / "nothing.pth")
    with refused("no_such_file", f"model.weights={tmp_path}", "checkpoints/best.ckpt"):
        load_weights(mobilenetv3_small(2), tmp_path)


@pytest.mark.parametrize("arguments", [{"width": 0.75}, {"variant": "tutorial"}])
def test_nobody_publishes_weights_for_another_width_or_variant(arguments):
    with refused("nothing_published", "model.weights=default", "MobileNetV3"):
        load_weights(mobilenetv3_large(2, **arguments), "default")


# Scaling


def test_p24_other_scaling_than_the_weights_expect_is_logged(large_file, caplog):
    half = Preprocessing(224, (0.5,) * 3, (0.5,) * 3)
    account = load_weights(mobilenetv3_large(2), large_file, preprocessing=half)
    assert noted(caplog.messages, "[0.485, 0.456, 0.406]", "[0.5, 0.5, 0.5]", "model.preprocessing")
    assert len(account.notes) == 1
    caplog.clear()
    assert load_weights(mobilenetv3_large(2), large_file, preprocessing=IMAGENET).notes == ()
    assert caplog.text == ""


def test_p24_the_same_scaling_written_otherwise_is_no_mistake(large_file):
    other_range = Preprocessing(224, [2 * m - 1 for m in IMAGENET.mean], [2 * s for s in IMAGENET.std], range=(-1, 1))
    assert load_weights(mobilenetv3_large(2), large_file, preprocessing=other_range).notes == ()


def test_p24_weights_of_fixed_scaling_for_images_standardised_by_themselves_are_noted(tmp_path, large_file):
    own = dataclasses.replace(IMAGENET, standardise=True)
    account = load_weights(mobilenetv3_large(2), large_file, preprocessing=own)
    assert len(account.notes) == 1 and noted(account.notes, "model.preprocessing.standardise=true")
    trained = run_folder(tmp_path, mobilenetv3_small(2, width=0.35), preprocessing=own)
    network = mobilenetv3_small(2, width=0.35)
    assert load_weights(network, trained, preprocessing=own).notes == ()
    assert noted(load_weights(network, trained, preprocessing=IMAGENET).notes, "model.preprocessing.standardise=false")


def test_standardised_grey_images_replace_each_colour(large_file, random_images):
    """There are no constants to fold in, so the weights are summed."""
    grey, colour = mobilenetv3_large(1000, 1).eval(), mobilenetv3_large(1000).eval()
    account = load_weights(grey, large_file, preprocessing=dataclasses.replace(GREY, standardise=True))
    load_weights(colour, large_file)
    assert len(account.notes) == 2 and not grey.stem.conv.offset.any()
    images = random_images(2, 0, 1)
    with torch.no_grad():
        torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


def normalised(pixels, preprocessing):
    mean, std = torch.tensor([preprocessing.mean, preprocessing.std]).view(2, -1, 1, 1)
    return (pixels - mean) / std


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("mobilenet_v3_large", lambda chans: mobilenetv3_large(4, chans, dropout=0.0)),
        ("resnet18", lambda chans: torchvision_network("resnet18", 4, chans)),
        ("inception_v3", lambda chans: torchvision_network("inception_v3", 4, chans)),
    ],
)
def test_grey_input_gives_the_colour_networks_logits(tmp_path, settled, name, build, mode):
    """Exact up to the border, where padding lies beside a constant that a plain bias would get wrong."""
    colour, grey = settled(build(3)), build(1)
    for network in (colour, grey):
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    torch.save(colour.state_dict(), tmp_path / "colour.pth")
    account = load_weights(grey, tmp_path / "colour.pth", preprocessing=GREY)
    assert len(account.loaded) == len(account.names)
    assert noted(account.notes[:1], next(iter(grey.state_dict())).rpartition(".")[0])
    pixels = torch.rand(4, 1, 96, 96) * torch.rand(4, 1, 1, 1)
    colour, grey = colour.double().train(mode == "train"), grey.double().train(mode == "train")
    pixels = pixels.double()
    expects = torchvision_preprocessing(name)
    with torch.no_grad():
        expected = colour(normalised(pixels.expand(-1, 3, -1, -1), expects))
        got = grey(normalised(pixels, GREY))
    assert expected.std(0).mean() > 0.01
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_summing_alone_would_not_be_exact(tmp_path, settled):
    """The test above can fail: without the constant the logits are others."""
    colour, grey = settled(mobilenetv3_large(4)), mobilenetv3_large(4, 1).eval()
    torch.save(colour.state_dict(), tmp_path / "colour.pth")
    load_weights(grey, tmp_path / "colour.pth", preprocessing=GREY)
    pixels = torch.rand(4, 1, 96, 96)
    with torch.no_grad():
        exact = grey(normalised(pixels, GREY))
        # The constant of the middle, everywhere: what a bias would do, wrong along the border.
        bias = grey.stem.conv.offset.sum((2, 3)).view(1, -1, 1, 1)
        grey.stem.conv.offset.zero_()
        handle = grey.stem.conv.register_forward_hook(lambda module, given, output: output + bias)
        at_border = grey(normalised(pixels, GREY))
        handle.remove()
        without = grey(normalised(pixels, GREY))
    assert (exact - at_border).abs().max() > 1e-3
    assert (exact - without).abs().max() > 1e-2


def test_grey_weights_load_into_a_grey_network_again(tmp_path, large_file):
    first = mobilenetv3_large(2, in_chans=1)
    load_weights(first, large_file, preprocessing=GREY)
    folder = run_folder(tmp_path, first, preprocessing=GREY)
    second = mobilenetv3_large(2, in_chans=1)
    load_weights(second, folder, preprocessing=GREY)
    assert torch.equal(first.stem.conv.offset, second.stem.conv.offset)
    assert second.stem.conv.offset.abs().max() > 0


def test_grey_input_without_its_mean_is_refused(large_file):
    with refused("missing_setting", "model.preprocessing.mean", "model.network.in_chans=3"):
        load_weights(mobilenetv3_large(2, in_chans=1), large_file)


# Downloading, with the real code against a server of our own


class Handler(http.server.BaseHTTPRequestHandler):
    payload = b""
    cut_after: int | None = None
    asked = 0

    def do_GET(self):
        type(self).asked += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.payload)))
        self.end_headers()
        self.wfile.write(self.payload[: self.cut_after])
        type(self).cut_after = None  # only the first answer is cut

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server that gives out weights for MobileNetV3-Small, published under its address."""
    path = tmp_path / "small.pth"
    torch.save(torchvision.models.mobilenet_v3_small(weights=None).state_dict(), path)
    handler = type("Once", (Handler,), {"payload": path.read_bytes()})
    digits = hashlib.sha256(handler.payload).hexdigest()[:8]
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{serving.server_port}/small-{digits}.pth"
    monkeypatch.setattr(weights, "published", lambda library, name: PublishedWeights(url, digits, IMAGENET, 1000))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    yield handler, tmp_path / "hub" / "checkpoints" / f"small-{digits}.pth"
    serving.shutdown()
    serving.server_close()


def left_behind(target):
    return sorted(path.name for path in target.parent.iterdir()) if target.parent.exists() else []


def test_default_downloads_once_and_logs_size_and_target_first(server, caplog):
    handler, target = server
    caplog.set_level(logging.INFO)
    account = load_weights(mobilenetv3_small(2), "default")
    assert noted([str(account)], "242/244", "last layer", "(2)")
    assert noted(caplog.messages, f"{len(handler.payload) / 1e6:.1f} MB", str(target))
    assert account.sha256 == hashlib.sha256(handler.payload).hexdigest()
    load_weights(mobilenetv3_small(2), "default")
    assert handler.asked == 1
    assert left_behind(target) == [target.name]


def test_a_broken_connection_leaves_nothing_and_a_second_try_works(server):
    handler, target = server
    handler.cut_after = 100_000
    with refused("download_failed", "100000", f"{len(handler.payload)} ", "model.weights=/path/to/file"):
        load_weights(mobilenetv3_small(2), "default")
    assert left_behind(target) == []
    load_weights(mobilenetv3_small(2), "default")
    assert left_behind(target) == [target.name]


def test_a_broken_connection_is_detected_without_a_hash(server):
    handler, target = server
    handler.cut_after = 100_000
    url = weights.published("", "").url
    with refused("download_failed", "100000"):
        download(url, "", target)
    assert left_behind(target) == []


def test_a_wrong_hash_leaves_nothing_and_a_second_try_works(server):
    handler, target = server
    right = handler.payload
    handler.payload = right[:-1] + b"x"
    with refused("download_failed", target.name, "SHA-256"):
        load_weights(mobilenetv3_small(2), "default")
    assert left_behind(target) == []
    handler.payload = right
    load_weights(mobilenetv3_small(2), "default")
    assert left_behind(target) == [target.name]


def test_a_spoilt_file_in_the_cache_is_fetched_again(server):
    handler, target = server
    target.parent.mkdir(parents=True)
    target.write_bytes(handler.payload[:1000])
    load_weights(mobilenetv3_small(2), "default")
    assert target.read_bytes() == handler.payload


def test_no_network_names_the_file_and_the_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    with refused("download_failed", "mobilenet_v3_small-047dcff4.pth", "model.weights=/path/to/file"):
        load_weights(mobilenetv3_small(2), "default")
    assert left_behind(tmp_path / "checkpoints" / "x") == []


def test_no_network_for_timms_hub_names_the_file_and_the_setting(monkeypatch, tmp_path):
    import huggingface_hub

    def no_network(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", no_network)
    with refused("download_failed", "model.safetensors", "timm/resnet10t", "model.weights=/path/to/file"):
        load_weights(timm_network("resnet10t", 2), "default")


def test_timms_published_file_loads(monkeypatch, tmp_path):
    import huggingface_hub

    published = timm_network("resnet10t", 1000)
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(published.state_dict(), path)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(path))
    network = timm_network("resnet10t", 2)
    account = load_weights(network, "default")
    assert account.reinitialised == {"last layer": ("fc.weight", "fc.bias")}
    assert account.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert torch.equal(network.conv1[0].weight, published.conv1[0].weight)


def test_published_weights_of_one_size_are_brought_to_another(monkeypatch, tmp_path, caplog):
    import huggingface_hub

    published = timm_network("vit_tiny_patch16_224", 1000)
    safetensors.torch.save_file(published.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(tmp_path / "model.safetensors"))
    network = timm_network("vit_tiny_patch16_224", 2, img_size=[64, 64])
    with caplog.at_level("INFO", logger="medcls"):
        account = load_weights(network, "default")
    assert account.reinitialised == {"last layer": ("head.weight", "head.bias")}
    assert noted(caplog.messages, "timm", "64 x 64")
    assert network.pos_embed.shape == (1, 17, 192) and torch.equal(network.cls_token, published.cls_token)
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 2)


def test_a_file_of_weights_that_is_not_there_is_not_to_be_fetched_again(tmp_path):
    with refused("no_such_file", str(tmp_path / "best.ckpt")):
        read_state(tmp_path / "best.ckpt")
