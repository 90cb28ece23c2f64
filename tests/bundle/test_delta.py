"""Deltas: the new bundle bit for bit, or the old one untouched, whatever happens to delta, disk or process."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_odrec.bundle import BundleError, Recommender, update
from recbole_odrec.bundle.alike import weights_alike
from recbole_odrec.bundle.delta import PIECE, Payload, added, restored
from recbole_odrec.bundle.delta_maker import _differences, encoded, make_delta, write_delta
from recbole_odrec.bundle.export import export_bundle
from recbole_odrec.bundle.manifest import write_manifest
from recbole_odrec.bundle.update import update_bundle
from recbole_odrec.cli import main
from recbole_odrec.errors import UserError

HISTORY = ["5", "17", "30"]
START = 44  # magic, digest and length of the header


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def renew_manifest(folder: Path, **changed: object) -> None:
    values = json.loads((folder / "manifest.json").read_text()) | changed
    (folder / "manifest.json").unlink()
    write_manifest(folder, {key: value for key, value in values.items() if key not in ("files", "checksum")})


@pytest.fixture(scope="session")
def students(train, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Bundles of trained students, by table, seed and precision."""
    folder = tmp_path_factory.mktemp("students")

    def student(table: str, seed: int, precision: str) -> Path:
        output = folder / f"{table}-{seed}-{precision}"
        if not output.exists():
            settings = {"table": "codes"} if table == "codes" else {"item_order": "teacher"}
            result = train("ODRec", init_from_teacher=True, seed=seed, **settings)
            checkpoint = Path(result["path"]).parent / "student" / "best.pth"
            export_bundle(checkpoint, output, precision, max_ndcg_loss=1.0)
        return output

    return student


@pytest.fixture(scope="session")
def next_bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle after a little training, as far as a delta can tell, with titles that it had not."""
    folder = tmp_path_factory.mktemp("next") / "bundle"
    shutil.copytree(tiny_bundle, folder)
    model = onnx.load(folder / "model.onnx")
    drawn = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.raw_data) > 64:
            values = onnx.numpy_helper.to_array(tensor)
            tensor.raw_data = (values * (1 + 0.2 * drawn.standard_normal(values.shape, np.float32))).tobytes()
    onnx.save(model, folder / "model.onnx")
    (folder / "titles.txt").write_text("".join(f"Title {i}\n" for i in range(1, 61)))
    renew_manifest(folder)
    return folder


@pytest.fixture(scope="session")
def delta(tiny_bundle: Path, next_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("delta") / "next.delta"
    write_delta(tiny_bundle, next_bundle, file)
    return file


@pytest.fixture
def device(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The old bundle where it may be updated, alone in its folder."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "device" / "bundle"))


def is_untouched(device: Path, old: Path) -> bool:
    return content(device) == content(old) and [path.name for path in device.parent.iterdir()] == [device.name]


# ---------------------------------------------------------------------- bit for bit


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("table", ["tensor_train", "codes"])
def test_an_update_is_the_new_bundle_bit_for_bit(students, table: str, precision: str, tmp_path: Path) -> None:
    old, new = students(table, 1, precision), students(table, 2, precision)
    header = write_delta(old, new, "new.delta")
    device = Path(shutil.copytree(old, tmp_path / "alone" / "bundle"))
    recommender = Recommender(device)
    before = recommender.recommend(["50", "172", "1"])
    recommender.update("new.delta")
    assert content(device) == content(new)
    answer = recommender.recommend(["50", "172", "1"])
    assert answer == Recommender(new).recommend(["50", "172", "1"]) != before
    assert recommender.folder == device
    assert recommender.manifest == json.loads((new / "manifest.json").read_text())
    assert header["files"]["LICENSE"]["codec"] == "copy"
    assert header["files"]["model.onnx"]["payload"] < 0.95 * (new / "model.onnx").stat().st_size
    assert list(device.parent.iterdir()) == [device]
    recommender.update("new.delta")  # again: it is there
    assert content(device) == content(new)


def test_files_come_and_go(device: Path, tiny_bundle: Path, next_bundle: Path, delta: Path) -> None:
    recommender = Recommender(device)
    assert recommender.recommend(HISTORY, k=1)[0].title is None
    recommender.update(delta)
    assert content(device) == content(next_bundle)
    [(item, _, title)] = recommender.recommend(HISTORY, k=1)
    assert title == f"Title {item}"
    write_delta(next_bundle, tiny_bundle, "back.delta")
    recommender.update("back.delta")
    assert content(device) == content(tiny_bundle)
    assert recommender.recommend(HISTORY, k=1)[0].title is None


def test_weights_that_moved_a_little_cost_less_than_themselves(tiny_bundle, next_bundle, delta: Path) -> None:
    """A relative change below 2^-2 leaves sign and exponent of most numbers: the first of four bytes costs little."""
    weights = sum(alike.length for alike in weights_alike(*model_pair(tiny_bundle, next_bundle)))
    whole = (next_bundle / "model.onnx").stat().st_size
    assert weights > 0.7 * whole
    assert delta.stat().st_size < 0.85 * weights


def model_pair(old: Path, new: Path) -> tuple[bytes, bytes]:
    return (old / "model.onnx").read_bytes(), (new / "model.onnx").read_bytes()


@pytest.mark.parametrize("axis", [0, 1])
def test_codes_of_more_items_travel_as_what_is_new(axis: int) -> None:
    """A row of each codebook's codes [M, N] has grown at its end: what follows it has moved."""
    drawn = np.random.default_rng(0)
    codes = drawn.integers(256, size=(8, 2000), dtype=np.uint8)
    new = np.concatenate([codes, drawn.integers(256, size=(8, 50), dtype=np.uint8)], 1)
    places = drawn.integers(2000, size=100)
    new[3, places] += 1
    old, new = (codes.T, new.T) if axis == 0 else (codes, new)
    models = [
        onnx.helper.make_model(
            onnx.helper.make_graph([], "codes", [], [], [onnx.numpy_helper.from_array(array.copy(), "codes")])
        ).SerializeToString()
        for array in (old, new)
    ]
    stretches = [*weights_alike(*models)]
    assert [alike.length for alike in stretches] == ([16_000] if axis == 0 else [2000] * 8)
    assert models[0][stretches[-1].old_place :][: stretches[-1].length] == old.tobytes()[-stretches[-1].length :]
    payload = encoded(*models, is_model=True)
    assert decoded(payload, models[0], len(models[1])) == models[1]
    assert 400 < len(payload) < 850  # 400 codes of new items, and two or three bytes for each that has moved


def test_weights_of_other_shapes_are_not_alike() -> None:
    def model(*shape: int) -> bytes:
        array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        graph = onnx.helper.make_graph([], "one", [], [], [onnx.numpy_helper.from_array(array, "one")])
        return onnx.helper.make_model(graph).SerializeToString()

    assert not [*weights_alike(model(8, 8), model(9, 9)), *weights_alike(model(8, 8), model(64))]
    assert not [*weights_alike(model(8, 8), model(8, 7)), *weights_alike(model(8, 8), model(8, 8))]


def test_the_same_bundle_is_a_header_and_changes_nothing(device: Path, tiny_bundle: Path) -> None:
    header = write_delta(tiny_bundle, tiny_bundle, "same.delta")
    assert {entry["payload"] for entry in header["files"].values()} == {0}
    assert Path("same.delta").stat().st_size == START + len(json.dumps(header, separators=(",", ":"))) < 1200
    Recommender(device).update("same.delta")
    assert is_untouched(device, tiny_bundle)


def test_files_that_are_not_wanted_stay_out(tiny_bundle: Path, next_bundle: Path, delta: Path) -> None:
    """A page has no use for a program for ExecuTorch, say."""
    header, whole = make_delta(tiny_bundle, next_bundle, ("manifest.json", "items.txt", "model.onnx"))
    assert list(header["files"]) == ["manifest.json", "items.txt", "model.onnx"]
    assert len(whole) < delta.stat().st_size


def test_a_bundle_behind_a_link_is_replaced_where_it_is(device: Path, next_bundle: Path, delta: Path) -> None:
    device.rename(device.with_name("real"))
    device.symlink_to("real")
    Recommender(device).update(delta)
    assert device.is_symlink()
    assert content(device) == content(next_bundle)


@given(
    st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=40)), max_size=12),
)
def test_any_content_comes_back(pieces: list[bytes], order: list[tuple[int, bytes]]) -> None:
    old = b"".join(pieces)
    new = b"".join(pieces[place % len(pieces)] * 3 + between for place, between in order)
    assert decoded(encoded(old, new), old, len(new)) == new


def decoded(payload: bytes, old: bytes, size: int) -> bytes:
    from io import BytesIO

    return b"".join(restored(Payload(BytesIO(payload), len(payload)), BytesIO(old), len(old), size))


def test_large_files_are_copied_from_where_their_blocks_moved() -> None:
    drawn = random.Random(1)
    old = drawn.randbytes(3 * PIECE)
    new = old[PIECE + 7 :] + b"between" + old[: PIECE + 7] + b"end"
    payload = encoded(old, new)
    assert len(payload) < 60
    assert decoded(payload, old, len(new)) == new


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("length", [4, 400, 2 * PIECE + 8])
def test_differences_add_up_around_the_range(width: int, length: int) -> None:
    drawn = random.Random(width)
    old, new = drawn.randbytes(length - 4) + b"\0\0\0\0", drawn.randbytes(length - 4) + b"\xff\xff\xff\xff"
    differences = _differences(old, new, width)
    pieces = range(0, length, PIECE)
    assert b"".join(added(old[at : at + PIECE], differences[at : at + PIECE], width) for at in pieces) == new
    # -1 is 1, and stands in the lowest byte, before the others of the piece.
    n_last = (length - 1) % PIECE + 1
    assert differences[-n_last:][n_last // width - 1] == 1
    assert added(b"\x05\0\0\0", bytes([3, 0, 0, 0]), 4) == b"\x03\0\0\0"


# ---------------------------------------------------------------------- what goes wrong


def refusal(device: Path, delta: Path) -> str:
    with pytest.raises(UserError) as error:
        Recommender(device).update(delta)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_flipped_byte_anywhere_is_refused(device: Path, tiny_bundle: Path, delta: Path) -> None:
    whole = delta.read_bytes()
    for place in [*range(0, 60), *range(60, len(whole), len(whole) // 100), len(whole) - 1]:
        Path("bad.delta").write_bytes(whole[:place] + bytes([whole[place] ^ 0x11]) + whole[place + 1 :])
        line = refusal(device, Path("bad.delta"))
        assert line == (
            "bad.delta is not a delta between bundles; make one with recbole-odrec delta."
            if place < 7
            else "bad.delta is a delta of another version; make it again, or update recbole_odrec."
            if place == 7
            else "bad.delta cannot be used (its SHA-256 is another): fetch it again; nothing was changed."
        )
    assert is_untouched(device, tiny_bundle)


def test_a_delta_cut_anywhere_or_longer_is_refused(device: Path, tiny_bundle: Path, delta: Path) -> None:
    whole = delta.read_bytes()
    for length in (0, 1, 6, 7, 8, 39, 40, 43, 44, 45, 300, len(whole) // 2, len(whole) - 1, len(whole) + 1):
        Path("bad.delta").write_bytes((whole + b"\0")[:length])
        line = refusal(device, Path("bad.delta"))
        wanted = "is not a delta" if length < 7 else "another version" if length < 8 else "its SHA-256 is another"
        assert wanted in line, length
    assert is_untouched(device, tiny_bundle)


def forged(delta: Path, change: Callable[[dict, list[bytes]], object]) -> Path:
    """A delta with other content and the right digest, as only somebody who wants to writes one."""
    whole = delta.read_bytes()
    size = int.from_bytes(whole[40:44], "little")
    header, rest = json.loads(whole[START : START + size]), whole[START + size :]
    payloads = []
    for entry in header["files"].values():
        payloads.append(rest[: entry["payload"]])
        rest = rest[entry["payload"] :]
    change(header, payloads)
    text = json.dumps(header).encode()
    body = len(text).to_bytes(4, "little") + text + b"".join(payloads)
    Path("forged.delta").write_bytes(whole[:8] + hashlib.sha256(body).digest() + body)
    return Path("forged.delta")


def rename(name: str) -> Callable[[dict, list[bytes]], object]:
    def change(header: dict, payloads: list[bytes]) -> None:
        files = header["files"]
        header["files"] = {name if old == "titles.txt" else old: entry for old, entry in files.items()}

    return change


def set_of(name: str, **values: object) -> Callable[[dict, list[bytes]], object]:
    return lambda header, payloads: header["files"][name].update(values)


def payload_of(raw: bytes) -> Callable[[dict, list[bytes]], object]:
    """Other instructions for the model."""

    def change(header: dict, payloads: list[bytes]) -> None:
        place = list(header["files"]).index("model.onnx")
        payloads[place] = zlib.compress(raw)
        header["files"]["model.onnx"]["payload"] = len(payloads[place])

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (rename("../outside"), "its header cannot be one"),
        (rename("/outside"), "its header cannot be one"),
        (rename("a/b"), "its header cannot be one"),
        (rename(".hidden"), "its header cannot be one"),
        (rename("titles.txt\0"), "its header cannot be one"),
        (rename(""), "its header cannot be one"),
        (lambda header, _: header["files"].pop("manifest.json"), "its header cannot be one"),
        (lambda header, _: header.update(files=[]), "its header cannot be one"),
        (lambda header, _: header.update(format="other"), "its header cannot be one"),
        (lambda header, _: header.update(base="0"), "its header cannot be one"),
        (set_of("model.onnx", bytes=2**40), "its header cannot be one"),
        (set_of("model.onnx", bytes=True), "its header cannot be one"),
        (set_of("model.onnx", payload=-1), "its header cannot be one"),
        (set_of("model.onnx", payload=1), "its header cannot be one"),
        (set_of("model.onnx", codec="zstd"), "its header cannot be one"),
        (set_of("items.txt", codec="deflate"), "a payload ends too early"),
        (set_of("model.onnx", codec="copy"), "its header cannot be one"),
        (set_of("model.onnx", sha256="0" * 64), "model.onnx comes out as another file"),
        (set_of("titles.txt", bytes=3), "an instruction that cannot be"),
        (payload_of(b""), "a payload ends too early"),
        (payload_of(bytes([8 * 5 + 0]) + b"hello"), "a payload ends too early"),
        (payload_of(bytes([8 * 0 + 1, 0])), "an instruction that cannot be"),
        (payload_of(bytes([8 * 5 + 7, 0])), "an instruction that cannot be"),
        (payload_of(bytes([8 * 5 + 1, 1])), "a place outside the old file"),
        (payload_of(b"\xff" * 20), "a number without an end"),
        (payload_of(bytes([0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0])), "an instruction that cannot be"),
        (payload_of(bytes([8 * 3 + 4, 0]) + b"123"), "cannot reshape"),
    ],
)
def test_a_delta_made_to_do_harm_does_none(
    device: Path, tiny_bundle: Path, delta: Path, change: Callable, reason: str, tmp_path: Path
) -> None:
    line = refusal(device, forged(delta, change))
    assert reason in line
    assert line.startswith("forged.delta cannot be used (")
    assert is_untouched(device, tiny_bundle)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["device", "forged.delta"]


def test_a_payload_of_nothing_but_air_takes_no_memory(device: Path, tiny_bundle: Path, delta: Path) -> None:
    """100 MB of zeros in 100 kB, for a model that is said to be 40 kB, and for one that is said to be that large."""
    size = 100_000_000
    head = [0, *(8 * size >> 7 * i & 127 | 128 for i in range(4)), 8 * size >> 28][1:]
    script = """
import resource, sys
from pathlib import Path
from recbole_odrec.bundle import Recommender
recommender = Recommender(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    recommender.update("forged.delta")
except ValueError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    for said in (40_000, size):
        air = payload_of(bytes(head) + bytes(size))
        forged(
            delta,
            lambda header, payloads, said=said, air=air: (
                air(header, payloads),
                set_of("model.onnx", bytes=said)(header, payloads),
            ),
        )
        assert Path("forged.delta").stat().st_size < 150_000
        done = subprocess.run([sys.executable, "-c", script, str(device)], capture_output=True, text=True, check=True)
        line, grown = done.stdout.splitlines()
        assert ("an instruction that cannot be" if said < size else "model.onnx comes out as another") in line
        assert int(grown) < 20_000  # kB
        assert is_untouched(device, tiny_bundle)


def test_a_bundle_that_does_not_run_is_not_put_in_its_place(device: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(tiny_bundle, tmp_path / "broken" / "bundle"))
    (broken / "model.onnx").write_bytes(b"no model")
    renew_manifest(broken)
    write_delta(tiny_bundle, broken, "broken.delta")
    assert "cannot be loaded by ONNX Runtime" in refusal(device, Path("broken.delta"))
    assert is_untouched(device, tiny_bundle)


def test_a_delta_from_another_bundle_is_refused(device: Path, tiny_bundle: Path, next_bundle: Path, delta) -> None:
    write_delta(next_bundle, tiny_bundle, "back.delta")
    Recommender(device).update("back.delta")  # leads to what is there: nothing to do
    assert is_untouched(device, tiny_bundle)
    other = Path(shutil.copytree(tiny_bundle, "other"))
    renew_manifest(other, model="another one")
    line = refusal(other, delta)
    assert line == (
        f"{delta} leads from another bundle than other: take the one made from this one, or copy the whole new bundle; "
        "nothing was changed."
    )


def test_a_bundle_damaged_meanwhile_is_said_to_be(device: Path, delta: Path) -> None:
    recommender = Recommender(device)
    os.truncate(device / "model.onnx", 100)
    with pytest.raises(BundleError, match=r"model.onnx: 100 bytes, expected .*; the bundle is damaged"):
        recommender.update(delta)


def test_a_full_disk_is_one_line_and_the_old_bundle_answers(
    device: Path, tiny_bundle: Path, next_bundle: Path, delta: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    recommender = Recommender(device)
    before = recommender.recommend(HISTORY, k=10)
    for place, fails_at in ((os, "fsync"), (Path, "mkdir"), (Path, "rename")):
        real, calls = getattr(place, fails_at), []
        last = {"fsync": 3, "mkdir": 1, "rename": 2}[fails_at]

        def full(*words, real=real, calls=calls, last=last, **named):
            calls.append(words)
            if len(calls) == last:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*words, **named)

        with monkeypatch.context() as patch:
            patch.setattr(place, fails_at, full)
            assert main(["recommend", f"--bundle={device}", f"--update={delta}"]) == 2
        assert capsys.readouterr() == (
            "",
            f"recbole_odrec: {device} cannot be written (No space left on device): make room there, or choose another "
            "folder.\n",
        )
        assert is_untouched(device, tiny_bundle)
    with monkeypatch.context() as patch:  # what does not fit is not begun
        needed = sum(map(len, content(next_bundle).values()))
        patch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(2**40, 0, needed - 1))
        patch.setattr(Path, "mkdir", None)
        with pytest.raises(UserError, match="No space left on device"):
            recommender.update(delta)
    assert is_untouched(device, tiny_bundle)
    assert recommender.recommend(HISTORY, k=10) == before
    recommender.update(delta)
    assert content(device) == content(next_bundle)


KILLED = """
import os, signal, sys
from pathlib import Path
from recbole_odrec.bundle import Recommender
import recbole_odrec.bundle.update as update
steps = iter(range(int(sys.argv[3])))
def audit(event, arguments):  # every change of a name or a file of the system passes here
    if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir") and "/device" in str(arguments[0]):
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        if next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
recommender = Recommender(sys.argv[1])
sys.addaudithook(audit)
recommender.update(sys.argv[2])
"""


def test_killed_at_any_step_it_leaves_a_working_bundle(tiny_bundle: Path, next_bundle, delta, tmp_path: Path) -> None:
    old, new = content(tiny_bundle), content(next_bundle)
    found = []
    for step in range(40):
        device = Path(shutil.copytree(tiny_bundle, tmp_path / f"device-{step}" / "bundle"))
        done = subprocess.run([sys.executable, "-c", KILLED, str(device), str(delta), str(step)], check=False)
        recommender = Recommender(device)
        assert recommender.recommend(HISTORY, k=10)
        found.append("old" if content(device) == old else "new" if content(device) == new else "neither")
        recommender.update(delta)  # goes on as if nothing had been
        assert content(device) == new
        left = [path.name for path in device.parent.iterdir()]
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        assert left == ["bundle"] or found[-1] == "new", left
    n_old = found.count("old")
    assert found == ["old"] * n_old + ["new"] * (len(found) - n_old)
    assert 6 <= n_old < len(found) - 1 < 39


def test_between_the_renames_the_old_bundle_gets_its_name_back(device: Path, tiny_bundle: Path, delta: Path) -> None:
    def killed(folder: Path) -> None:
        folder.parent.joinpath("bundle").rename(folder.parent / ".bundle.old")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update_bundle(device, delta, killed)
    assert not device.exists()
    assert Recommender(device).recommend(HISTORY, k=10)
    assert is_untouched(device, tiny_bundle)
    assert update.aside(device) == device.parent / ".bundle.old"


# ---------------------------------------------------------------------- the command line


def test_the_commands_make_and_apply_it(device: Path, tiny_bundle: Path, next_bundle: Path, capsys) -> None:
    assert main(["delta", str(tiny_bundle), str(next_bundle), "--output", "out/next.delta"]) == 0
    out = capsys.readouterr().out.splitlines()
    size, whole = Path("out/next.delta").stat().st_size, sum(map(len, content(next_bundle).values()))
    assert out[-2:] == [f"{size:,} bytes in place of {whole:,}, {100 * size / whole:.1f} %", "out/next.delta"]
    assert "items.txt: as it is" in out
    assert main(["recommend", f"--bundle={device}", "--update=out/next.delta"]) == 0
    assert capsys.readouterr() == ("", f"recbole_odrec: {device} is up to date\n")
    assert main(["recommend", f"--bundle={device}", "--update=out/next.delta", "5", "--k=1"]) == 0
    assert "Title " in capsys.readouterr().out
    assert content(device) == content(next_bundle)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["delta", "OLD", "nowhere", "--output=x"], "nowhere is not a bundle: it has no manifest.json"),
        (["delta", "OLD", "OLD", "--output=OLD"], "is a folder, expected the file to write."),
        (["delta", "OLD", "OLD", "--output=/proc/x"], "/proc/x cannot be written ("),
        (["delta", "OLD", "--output=x"], "the following arguments are required: NEW; see recbole-odrec delta --help."),
        (["recommend", "--bundle=OLD"], "no ITEM, expected those of a session, oldest first, or --update FILE."),
        (["recommend", "--bundle=OLD", "--update=nowhere"], "nowhere cannot be used (No such file or directory): "),
        (["recommend", "--bundle=OLD", "--update=OLD"], "cannot be used (not a regular file): "),
        (["recommend", "--bundle=OLD", "--update=OLD/items.txt"], "items.txt is not a delta between bundles; "),
    ],
)
def test_bad_input_is_one_line(device: Path, tiny_bundle: Path, words: list[str], line: str, capsys) -> None:
    assert main([word.replace("OLD", str(device)) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert line in err
    assert err.count("\n") == 1
    assert is_untouched(device, tiny_bundle)


def test_a_path_of_another_kind_is_one_line(device: Path) -> None:
    with pytest.raises(BundleError, match="delta=5, expected the path of a delta"):
        Recommender(device).update(5)
