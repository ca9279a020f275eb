"""What a shell, a terminal and a hasty hand give: one line and exit code 2, or the right result; never a traceback, never 1."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer
from PIL import Image

from passband.base.terminal import plain, print_json
from passband.cli import ctf_verbs
from passband.cli.main import app
from support.studies import passband

CONDITION = "energy_ev: 300000\naberrations: {C10: -50}\n"


def one_line(code, out, err, *words):
    assert (code, out) == (2, "") and err.count("\n") == 1 and err.startswith("passband: "), err
    assert "Traceback" not in err and err.isprintable() is False and err.strip().isprintable()
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ctf", "show", "feg_200kv", "--q-max", "abc"), ("--q-max", "a valid number", "'abc'", "ctf show --help")),
        (("study", "run", "quick", "--workers", "0"), ("--workers", "greater than or equal to 1", "'0'", "study run --help")),
        (("study", "run", "quick", "--workers=0"), ("--workers", "got '0'")),
        (("ctf", "show", "feg_200kv", "--q-ma", "2"), ("--q-ma", "--q-max")),
        (("estimate", "a.tif", "--energy", "300mV"), ("--energy", "300mV", "300kV")),
        (("estimate", "a.tif", "--energy", "kV"), ("--energy", "300kV")),
        (("estimate", "a.tif", "--frames", "²"), ("--frames",)),
        (("estimate", "none/*.tif"), ("none/*.tif: holds no micrograph", "correct the pattern")),
        (("segment", "au-300kv", "."), ("holds no micrograph", "it has 2 other files")),
        (("segment", "au-300kv", ""), ("cannot be read: No such file",)),
        (("estimate", "a.tif", "--pixel-size", "-1"), ("--pixel-size -1: has to be a positive number; give it in Å\n",)),
        (("simulate", "r.yaml"), ("r.yaml:2: particles.diametr_angstrom: unknown key 'diametr_angstrom'; did you mean 'diameter_angstrom'?",)),
        (("study", "run", "c.yaml"), ("c.yaml: describes one condition, and no study",)),
        (("design", "feg_200kv", "--recipe", "gold_on_carbon"), ("feg_200kv: neither", "such as feg_200kv:residuals")),
        (("plan-session", "au-300kv", "--dose", "0:100"), ("--dose 0.0 is outside 0.001", "give a range within")),
        (("ctf", "optimize", "c.yaml", "--vary", "C12", "--out", "c.yaml/best.yaml"), ("passband: c.yaml/best.yaml: c.yaml is a file, not a folder",)),
        (("model", "score", "au-300kv", "--images", ".", "--masks", ".", "--seed", "2"), ("--seed is of --recipe",)),
        (("check", "au-300kv"), ("either --condition or images",)),
        (("check", "au-300kv", "a.tif", "--condition", "c.yaml"), ("not both",)),
        (("check", "au-300kv", "--condition", "c.yaml", "--diameter", "-3"), ("--diameter -3",)),
    ],
)  # fmt: skip
def test_slips_on_the_command_line(call, tmp_path, words, message):
    (tmp_path / "c.yaml").write_text(CONDITION)
    (tmp_path / "r.yaml").write_text("field_angstrom: 25.6\nparticles: {diametr_angstrom: [8.0, 9.0]}\n")
    one_line(*call(*words), *message)


@pytest.mark.parametrize("words", [(), ("study",)])
def test_without_a_verb_the_help_is_all(call, words):
    code, out, err = call(*words)
    assert code == 2 and "Commands" in out and not err


@pytest.mark.slow
def test_an_energy_may_be_in_kilovolts(call, tmp_path):
    image = np.random.default_rng(0).normal(100, 10, (128, 128)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", image, imagej=True, resolution=(50, 50), metadata={"unit": "nm"})
    results = [
        call("estimate", "a.tif", "--energy", energy, "--json")[1]
        for energy in ("300000", "300kV", "300 keV", "3e5", "３０００００")
    ]
    assert len(set(results)) == 1 and json.loads(results[0])["images"]
    one_line(*call("estimate", "a.tif", "--energy", "300"), "energy of 300 eV", "--energy")


def test_former_names_of_options_work(call, tmp_path):
    (tmp_path / "r.yaml").write_text("field_angstrom: 25.6\nparticles: {count: [1, 1], diameter_angstrom: [10.0, 12.0]}\n")  # fmt: skip
    for words in (("--pixel-size", "0.4"), ("--pixel", "0.4"), ("--pixel=0.4",)):
        code, _, err = call("specimen", "export", "r.yaml", "s.npz", *words, "--json")
        assert code == 0, err
    one_line(*call("specimen", "export", "r.yaml", "s.npz", "--pixel", "0.37"), "--pixel-size 0.37")
    one_line(*call("train", "--conditions", "none.yaml"), "none.yaml")
    one_line(*call("model", "score", "au-300kv", "--recipe", "r.yaml", "--conditions", "none.yaml"), "none.yaml")


def commands(command, words=()):
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from commands(inner, (*words, name))
    if not hasattr(command, "commands"):
        yield words, command


@pytest.mark.parametrize(
    ("words", "command"),
    list(commands(typer.main.get_command(app))),
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else "",
)
def test_every_help_is_a_sentence_and_names_no_type_of_a_flag(call, words, command):
    for parameter in command.params:
        assert (parameter.help and parameter.help[0] not in "ofOF") or not parameter.help.startswith(("Of ", "of "))
        assert parameter.help.endswith((".", "…")), parameter.name
        assert parameter.name not in ("conditions", "pixel") or {"--condition", "--conditions"} & {*parameter.opts}
    code, out, _ = call(*words, "--help")
    assert code == 0 and "<bool>" not in out


def test_a_paragraph_of_the_help_breaks_where_the_terminal_does(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    _, out, _ = call("study", "rank", "--help")
    assert any("Every measure" in line and "ranking.md" in line for line in out.splitlines())


@pytest.mark.parametrize("encoding", [pytest.param("latin-1", marks=pytest.mark.slow), "ascii"])
def test_any_encoding_of_the_terminal(encoding, tmp_path):
    """A name that is no text and an escape sequence in it; the Å and the minus sign elsewhere."""
    name = b"bad\xff\x1b]0;x\x07.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "image.png")
    (tmp_path / "image.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    run = [sys.executable, "-m", "passband"]
    done = subprocess.run([*run, "ctf", "show", "titan_corrected_300kv"], env=environment, capture_output=True, cwd=tmp_path, check=True)  # fmt: skip
    assert b"point resolution" in done.stdout
    done = subprocess.run([*map(os.fsencode, [*run, "estimate"]), name], env=environment, capture_output=True, cwd=tmp_path, check=False)  # fmt: skip
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1
    assert b"Traceback" not in done.stderr and b"\x1b" not in done.stderr and b"bad" in done.stderr


def test_messages_that_cannot_be_written_stop_nothing(tmp_path):
    """/dev/full is a full disk: the warning about the pixel size is lost, and the answer is not."""
    (tmp_path / "c.yaml").write_text("notation: ctffind\nvoltage_kv: 300\ncs_mm: 0.1\ndefocus_u: 500\n")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "passband", "ctf", "convert", "c.yaml"], stdout=subprocess.PIPE, stderr=full, cwd=tmp_path, check=False)  # fmt: skip
    assert done.returncode == 0 and b"C10: -500" in done.stdout


def test_json_keeps_every_character(monkeypatch):
    content = {"name": "bad\udcff Å 的"}
    for encoding in ("ascii", "latin-1", "utf-8"):
        buffer = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(buffer, encoding=encoding, errors="replace"))
        print_json(content)
        sys.stdout.flush()
        assert json.loads(buffer.getvalue().decode(encoding)) == content
    assert plain("a\x1b[31m\u202e\udcff\nÅ\t的") == "a\\x1b[31m\\u202e\\udcff\nÅ\t的"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (MemoryError(), "too little memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "too little memory"),
        (KeyError("x"), "a fault of passband: KeyError"),
        (OSError(28, "No space left on device", "a.png"), "a.png: No space left"),
        (OSError(12, "Cannot allocate memory"), "too little memory"),
        (PermissionError(13, "Permission denied", "a.png"), "a.png: Permission denied; ask its owner for the right"),
    ],
)  # fmt: skip
def test_no_fault_ends_with_1(call, monkeypatch, fault, message):
    def fail(*_):
        raise fault

    monkeypatch.setattr(ctf_verbs, "read_condition", fail)
    one_line(*call("ctf", "show", "feg_200kv"), message)


@pytest.mark.parametrize(("words", "resumes"), [(("ctf", "show", "feg_200kv"), False), (("simulate", "r.yaml"), True)])
def test_only_what_can_be_resumed_promises_it(call, monkeypatch, tmp_path, words, resumes):
    def stop(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(ctf_verbs, "read_condition", stop)
    monkeypatch.setattr("passband.specimens.recipe_files.load_recipe", stop)
    code, _, err = call(*words)
    assert code == 143 and ("run the same command again" in err) == resumes

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ctf_verbs, "read_condition", interrupt)
    monkeypatch.setattr("passband.specimens.recipe_files.load_recipe", interrupt)
    code, _, err = call(*words)
    assert code == 130 and err.splitlines()[-1].startswith("passband: stopped")
    assert ("run the same command again" in err) == resumes


def test_comparisons_are_short_and_whole_on_request(call):
    short = call("ctf", "compare", "feg_200kv", "etem_200kv")[1]
    whole = call("ctf", "compare", "feg_200kv", "etem_200kv", "--all")[1]
    assert len(short.splitlines()) < 10 < len(whole.splitlines()) and whole.startswith(short.rstrip("\n"))
    metrics = json.loads(call("ctf", "compare", "feg_200kv", "etem_200kv", "--json")[1])["metrics"]
    assert all(name in whole for name in metrics)


def test_long_work_shows_that_it_goes_on(call, monkeypatch):
    monkeypatch.setattr("passband.metrics.optimize.STEPS", 3)
    code, out, err = call("ctf", "optimize", "feg_200kv", "--vary", "defocus", "--q-max", "0.5")
    assert code == 0 and err.startswith("steps: 0 of 3") and "steps: 3 of 3" in err
    assert "defocus +" in out and "→" in out.splitlines()[0]
    one_line(*call("ctf", "optimize", "feg_200kv", "--vary", "defocus", "--vary", "C10"), "same value")


def test_a_bomb_of_aliases_is_refused_at_once(tmp_path):
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    began = time.monotonic()
    done = passband("ctf", "show", "bomb.yaml", cwd=tmp_path)
    assert done.returncode == 2 and "bomb.yaml:" in done.stderr and "aliases" in done.stderr
    assert time.monotonic() - began < 60


def test_help_imports_no_science():
    code = "import sys, passband.cli.main; print([m for m in ('torch', 'scipy', 'polars', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"[]"


def test_a_run_imports_neither_figures_nor_fits_before_its_networks():
    code = (
        "import sys, passband.cli.main, passband.studies.runner, passband.studies.cross_tests\n"
        "print([m for m in ('matplotlib', 'sklearn', 'scipy.stats', 'pandas', 'jinja2') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"[]"
