"""Rows of a RELION STAR file as `ctffind` content. Parsing by gemmi, which reads STAR as it reads CIF."""

from typing import Any

_COLUMNS = {
    "_rlnDefocusU": "defocus_u",
    "_rlnDefocusV": "defocus_v",
    "_rlnDefocusAngle": "defocus_angle",
    "_rlnVoltage": "voltage_kv",
    "_rlnSphericalAberration": "cs_mm",
    "_rlnAmplitudeContrast": "amplitude_contrast",
    "_rlnPhaseShift": "phase_shift_deg",
    "_rlnMicrographPixelSize": "pixel_size",
    "_rlnImagePixelSize": "pixel_size",
}


def rows(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return a name and CTFFIND's content for each micrograph or particle; optics groups are looked up.

    Raises:
        ValueError: if the text is no STAR file, or has no defocus.
    """
    # A tenth of a second, for every command that reads a condition of another kind.
    from gemmi import cif

    try:
        document = cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"not a STAR file: {' '.join(str(error).split())}") from None
    groups: dict[str, dict[str, Any]] = {}
    micrographs: list[tuple[str, dict[str, Any]]] = []
    for block in document:
        for loop in (item.loop for item in block if item.loop is not None):
            for i in range(loop.length()):
                row = {tag: cif.as_string(loop[i, j]) for j, tag in enumerate(loop.tags)}
                values = {_COLUMNS[tag]: _number(tag, text) for tag, text in row.items() if tag in _COLUMNS}
                group = row.get("_rlnOpticsGroup", "")
                if block.name == "optics":
                    groups[group] = values
                elif "defocus_u" in values:
                    name = row.get("_rlnMicrographName") or row.get("_rlnImageName") or f"row {i + 1}"
                    micrographs.append((name, groups.get(group, {}) | values))
    if not micrographs:
        raise ValueError("has no _rlnDefocusU; give a STAR file of micrographs or particles with estimated defocus")
    return micrographs


def _number(tag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{tag} is {text!r}, which is not a number") from None
