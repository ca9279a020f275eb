"""Every notation against its own program's formula for χ, surface by surface, and back again."""

import cmath
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from passband.conditions import ABERRATIONS, ANGLES, Condition
from passband.conditions.notations import NOTATIONS, abtem, ceos, ctffind, krivanek, nexus, prismatic, relion
from passband.optics import aberration_phase, intensity_transfer, stack, wave_transfer
from support import reference
from support.samples import STAR

ENERGY = 200e3
LAM = reference.wavelength(ENERGY)
Q = [(0.1, 0.05), (-0.3, 0.2), (0.25, -0.6), (-0.5, -0.4), (0.8, 0.1)]


def surface(fields):
    condition = Condition(**({"energy_ev": ENERGY} | fields))
    qx, qy = torch.tensor(Q, dtype=torch.float64).T
    return aberration_phase(stack([condition]), qx, qy)[0].tolist()


def omega(q):
    return LAM * complex(*q)


def test_krivanek_cartesian():
    content = {"C10": "-5 nm", "C12.a": "3 nm", "C12b": "-2 nm", "C21a": "100 nm", "C21b": "40 nm", "C23b": "-70 nm",
               "C30": "1.2 mm", "C34a": "2 um", "C45b": "-30 um", "C56a": "1 mm"}  # fmt: skip

    def chi(q):
        # The polynomials of Nion's simulator, nionswift-usim.
        u, v = (LAM * x for x in q)
        r2 = u * u + v * v
        total = -50 * r2 / 2 + 30 * (u * u - v * v) / 2 - 20 * u * v
        total += 1000 * u * r2 / 3 + 400 * v * r2 / 3 - 700 * v * (3 * u * u - v * v) / 3
        total += 1.2e7 * r2 * r2 / 4 + 2e4 * (u**4 - 6 * u * u * v * v + v**4) / 4
        w = complex(u, v)
        total += -3e5 * (w**5).imag / 5 + 1e7 * (w**6).real / 6
        return 2 * math.pi / LAM * total

    assert surface(krivanek.read(content)) == pytest.approx([chi(q) for q in Q], rel=1e-6)


def test_ceos_in_its_own_complex_form():
    values = {"C1": (-52, 0), "A1": (21, 34), "B2": (150, -80), "A2": (300, 200), "C3": (-4e4, 0), "S3": (6e3, 15), "A3": (9e3, -120),
              "B4": (1e5, 60), "D4": (7e4, 100), "A4": (1.5e5, 5), "C5": (4e7, 0), "S5": (2e6, 30), "R5": (1e6, -45), "A5": (3e6, 77)}  # fmt: skip
    content = {n: f"{v / 10} nm" + (f", {a} deg" if n[0] != "C" else "") for n, (v, a) in values.items()}

    def chi(q):
        w, x = omega(q), {n: cmath.rect(v, math.radians(a)) for n, (v, a) in values.items()}
        b = w.conjugate()
        total = x["C1"] * w * b / 2 + x["A1"] * b**2 / 2 + x["B2"] * w**2 * b + x["A2"] * b**3 / 3
        total += x["C3"] * (w * b) ** 2 / 4 + x["S3"] * w**3 * b + x["A3"] * b**4 / 4
        total += x["B4"] * w**3 * b**2 + x["D4"] * w**4 * b + x["A4"] * b**5 / 5
        total += x["C5"] * (w * b) ** 3 / 6 + x["S5"] * w**4 * b**2 + x["R5"] * w**5 * b + x["A5"] * b**6 / 6
        return 2 * math.pi / LAM * total.real

    assert surface(ceos.read(content)) == pytest.approx([chi(q) for q in Q], rel=1e-9)
    renamed = {{"R5": "D5"}.get(n, n): v for n, v in content.items()}
    assert ceos.read(renamed) == ceos.read(content)
    own = {{"A5": "a_6"}.get(n, f"{n[0].lower()}_{n[1]}"): v for n, v in content.items()}
    assert surface(nexus.read({"model": "ceos", **own})) == pytest.approx(surface(ceos.read(content)))


def test_ceos_azimuth_is_a_direction():
    """Turned by its azimuth, an aberration is largest along it."""
    fields = ceos.read({"B2": "50 nm, 30 deg", "angles": "azimuth"})
    assert fields["aberrations"] == pytest.approx({"C21": 1500, "phi21": math.pi / 6})


def test_prismatic_rows():
    rows = [[2, 2, 40.0, 30.0], [3, 1, 9e3, -45.0], [4, 0, 2e5, 0.0], [6, 6, 5e7, 10.0]]

    def chi(q):
        # getChi of src/aberration.cpp.
        alpha, theta = abs(omega(q)), math.atan2(q[1], q[0])
        total = (
            math.pi / LAM * -80 * alpha**2 + math.pi / (2 * LAM) * 1e6 * alpha**4 + math.pi / (3 * LAM) * 3e7 * alpha**6
        )
        for m, n, size, angle in rows:
            cx, cy = size * math.cos(n * math.radians(angle)), size * math.sin(n * math.radians(angle))
            total += alpha**m * (cx * math.cos(n * theta) + cy * math.sin(n * theta))
        return total

    fields = prismatic.read({"C1": -80, "C3": 1e6, "C5": 3e7, "aberrations": rows, "energy_ev": ENERGY})
    assert surface(fields) == pytest.approx([chi(q) for q in Q], rel=1e-7)


def test_ctffind_and_its_amplitude_contrast():
    content = {"defocus_u": 10864.0, "defocus_v": 10575.0, "defocus_angle": 78.3, "voltage_kv": 200, "cs_mm": 1.4,
               "amplitude_contrast": 0.1, "pixel_size": 1.4}  # fmt: skip
    fields = ctffind.read(content)
    assert (fields["energy_ev"], fields["pixel_size_angstrom"]) == (200e3, 1.4)

    def ctf(q):
        # cisTEM: CTF = −sin(π λ s² (df − ½ λ² s² Cs) + atan(w / √(1 − w²))).
        s2, azimuth = q[0] ** 2 + q[1] ** 2, math.atan2(q[1], q[0])
        df = 0.5 * (10864 + 10575 + math.cos(2 * (azimuth - math.radians(78.3))) * (10864 - 10575))
        phase = math.pi * LAM * s2 * (df - 0.5 * LAM**2 * s2 * 1.4e7)
        return -math.sin(phase + math.atan(0.1 / math.sqrt(1 - 0.01)))

    condition = Condition(**fields)
    qx, qy = torch.tensor(Q, dtype=torch.float64).T
    parameters = stack([condition])
    # Where χ is even, the transfer of the amplitude contrast is the real part of t.
    ours = math.sqrt(1 - 0.01) * intensity_transfer(parameters, qx, qy) - 0.1 * wave_transfer(parameters, qx, qy).real
    assert ours[0].real.tolist() == pytest.approx([ctf(q) for q in Q], abs=1e-5)
    with pytest.raises(ValueError, match="no phase plate"):
        ctffind.read(content | {"phase_shift_deg": 90})
    with pytest.raises(ValueError, match="no place for C21"):
        ctffind.write(Condition(energy_ev=ENERGY, aberrations={"C21": 5.0}))


@pytest.mark.parametrize("angle", [0.0, 25.0, -70.0])
def test_torch_ctf_draws_the_same_ctf(angle):
    """Through torch-ctf itself: defocus in µm, Cs in mm, its second axis is x, and its sign is that of RELION."""
    from torch_ctf import calculate_ctf_2d

    n, pixel = 64, 1.0
    theirs = calculate_ctf_2d(1.2, 0.08, angle, 300.0, 2.7, 0.1, 0.0, pixel, (n, n), rfft=False, fftshift=False).T
    content = {"defocus_u": 12800.0, "defocus_v": 11200.0, "defocus_angle": angle, "voltage_kv": 300, "cs_mm": 2.7}
    parameters = stack([Condition(**ctffind.read(content))])
    qx, qy = reference.fft_frequencies(n, pixel)
    # Where χ is even, the transfer of the amplitude contrast is the real part of t.
    ours = math.sqrt(1 - 0.01) * intensity_transfer(parameters, qx, qy) - 0.1 * wave_transfer(parameters, qx, qy).real
    assert (theirs + ours[0].real).norm() <= 1e-4 * theirs.norm()


def test_relion_star():
    a, b = relion.rows(STAR)
    assert (a.name, b.name, a.notes) == ("a.mrc", "b.mrc", [])
    same = {
        "voltage_kv": 300,
        "cs_mm": 2.7,
        "pixel_size": 0.885,
        "defocus_u": 9000,
        "defocus_v": 8800,
        "defocus_angle": 20,
    }
    assert a.fields == ctffind.read(same)
    assert b.fields["aberrations"]["C10"] == -700
    for bad, message in (
        ("hello", "not a STAR"),
        (STAR.replace("rlnDefocusU", "rlnX"), "no _rlnDefocusU"),
        (STAR.replace("9000.0", "far"), "'far'"),
    ):
        with pytest.raises(ValueError, match=message):
            relion.rows(bad)


def test_abtem_makes_the_same_transfer():
    """Through abTEM itself, both envelopes and the aperture included."""
    import abtem as theirs_module
    import numpy as np

    condition = Condition(
        energy_ev=ENERGY,
        aberrations={"C10": -120.0, "C12": 30.0, "phi12": 0.3, "C30": 1e5},
        focal_spread_angstrom=25.0, convergence_mrad=0.4, aperture_mrad=15.0,
    )  # fmt: skip
    with theirs_module.config.set({"precision": "float64"}):
        ctf = theirs_module.CTF(**abtem.write(condition), extent=20.0, gpts=64, soft=True)
        theirs = np.asarray(ctf._evaluate_kernel())
    qx, qy = reference.fft_frequencies(64, 20 / 64)
    ours = wave_transfer(stack([condition]), qx, qy, edge=1 / 20)[0].numpy()
    assert np.linalg.norm(ours - theirs) < 1e-4 * np.linalg.norm(theirs)
    back = Condition(**abtem.read(abtem.write(condition)))
    assert back.aberrations == condition.aberrations
    assert back.focal_spread_angstrom == pytest.approx(25) and back.convergence_mrad == pytest.approx(0.4)


def test_quantem_parts_and_abtem_aliases():
    fields = abtem.read({"energy": ENERGY, "C12_a": 3.0, "C12_b": 4.0, "defocus": 50.0, "quadrafoil": 7.0, "Cs": 1e4})
    assert fields["aberrations"] == pytest.approx(
        {"C12": 5.0, "phi12": math.atan2(4, 3) / 2, "C10": -50.0, "C34": 7.0, "C30": 1e4}
    )


conditions = st.builds(
    lambda magnitudes, angles: Condition(
        energy_ev=ENERGY,
        aberrations=dict(magnitudes.items()) | {ANGLES[s]: angles[s] for s in magnitudes if s in ANGLES},
    ),
    st.dictionaries(
        st.sampled_from(sorted(ABERRATIONS)), st.floats(-1e4, 1e4).filter(lambda x: abs(x) > 1e-3), min_size=1
    ),
    st.fixed_dictionaries({s: st.floats(-6, 6) for s in ANGLES}),
)


@pytest.mark.parametrize("notation", sorted(NOTATIONS))
@given(condition=conditions)
@settings(max_examples=25, deadline=None)
def test_there_and_back(notation, condition):
    if notation == "ctffind":
        kept = {s: v for s, v in condition.aberrations.items() if s in ("C10", "C12", "phi12", "C30")}
        condition = condition.model_copy(update={"aberrations": kept})
    module = NOTATIONS[notation]
    content = module.write(condition) | ({"energy_ev": ENERGY} if notation == "prismatic" else {})
    scale = max(map(abs, surface({"aberrations": condition.aberrations})))
    assert surface(module.read(content)) == pytest.approx(
        surface({"aberrations": condition.aberrations}), abs=1e-7 * scale + 1e-12
    )


@pytest.mark.parametrize(
    ("notation", "content", "message"),
    [
        ("krivanek", {"C12": "3 nm"}, "unknown key 'C12'"),
        ("krivanek", {"C10": -50}, "a length with its unit"),
        ("ceos", {"A1": "2 nm, 34"}, "an angle with its unit"),
        ("ceos", {"C1": "2 nm, 34 deg"}, "write -5.2 nm"),
        ("ceos", {"A1": "2 nm", "angles": "both"}, "argument"),
        ("prismatic", {"aberrations": [[3, 3, 1.0]]}, r"\[m, n, mag"),
        ("prismatic", {"aberrations": [[7, 3, 1.0, 0.0]], "energy_ev": 1e5}, "none of"),
        ("ctffind", {"cs_mm": 2.7}, "defocus_u"),
        ("abtem", {"C10": "far"}, "not a number"),
        ("nexus", {"model": "jeol"}, "nion and ceos"),
    ],
)
def test_bad_content(notation, content, message):
    with pytest.raises(ValueError, match=message):
        NOTATIONS[notation].read(content)
