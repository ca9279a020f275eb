"""Independent, slow references: loops over the textbook formulas, sharing no code with the package."""

import cmath
import math

import torch

H, C, M, E = 6.62607015e-34, 299792458.0, 9.1093837015e-31, 1.602176634e-19
ORDERS = {
    "C10": (1, 0), "C12": (1, 2), "C21": (2, 1), "C23": (2, 3), "C30": (3, 0), "C32": (3, 2), "C34": (3, 4),
    "C41": (4, 1), "C43": (4, 3), "C45": (4, 5), "C50": (5, 0), "C52": (5, 2), "C54": (5, 4), "C56": (5, 6),
}  # fmt: skip


def wavelength(energy_ev: float) -> float:
    momentum = math.sqrt(2 * M * E * energy_ev * (1 + E * energy_ev / (2 * M * C * C)))
    return H / momentum * 1e10


def chi(condition, qx: float, qy: float) -> float:
    lam = wavelength(condition.energy_ev)
    alpha, phi = lam * math.hypot(qx, qy), math.atan2(qy, qx)
    total = 0.0
    for symbol, (n, m) in ORDERS.items():
        magnitude = condition.aberrations.get(symbol, 0.0)
        angle = condition.aberrations.get("phi" + symbol[1:], 0.0)
        total += magnitude * alpha ** (n + 1) / (n + 1) * math.cos(m * (phi - angle))
    return 2 * math.pi / lam * total


def t(condition, qx: float, qy: float, step: float = 1e-6) -> complex:
    lam = wavelength(condition.energy_ev)
    q2 = qx * qx + qy * qy
    if condition.aperture_mrad is not None and lam * math.sqrt(q2) > condition.aperture_mrad * 1e-3:
        return 0j
    gx = (chi(condition, qx + step, qy) - chi(condition, qx - step, qy)) / (2 * step)
    gy = (chi(condition, qx, qy + step) - chi(condition, qx, qy - step)) / (2 * step)
    temporal = math.exp(-0.5 * (math.pi * lam * condition.focal_spread_angstrom * q2) ** 2)
    spatial = math.exp(-0.5 * (condition.convergence_mrad * 1e-3 / lam) ** 2 * (gx * gx + gy * gy))
    return cmath.exp(-1j * chi(condition, qx, qy)) * temporal * spatial


def transfer(condition, qx: float, qy: float) -> complex:
    return 0.5j * (t(condition, qx, qy) - t(condition, -qx, -qy).conjugate())


def epsilon_and_sigma(train, test, q_max: float = 1.0, n: int = 121) -> tuple[float, float, float]:
    """Sum over a Cartesian grid of the band."""
    total = train_sum = test_sum = shared = 0.0
    for i in range(n):
        for j in range(n):
            qx, qy = (2 * (i + 0.5) / n - 1) * q_max, (2 * (j + 0.5) / n - 1) * q_max
            if 0 < math.hypot(qx, qy) <= q_max:
                a, b = abs(transfer(train, qx, qy)), abs(transfer(test, qx, qy))
                total, train_sum, test_sum, shared = total + 1, train_sum + a, test_sum + b, shared + min(a, b)
    return train_sum / total, test_sum / total, shared / train_sum


def fft_frequencies(n, sampling):
    """Frequencies [1/Å] of an n × n grid in FFT order."""
    q = torch.fft.fftfreq(n, sampling, dtype=torch.float64)
    return torch.meshgrid(q, q, indexing="ij")


def abtem_transmissions(configurations, band, dtype):
    """The transmission of each slice with abTEM 1.0.11's sampling of atoms: between the four next grid points, the potential
    itself on the grid, the transmission cut off at the band; to replace `banded._transmissions`.
    """
    from passband.specimens.scattering import scattering_factor

    n, step = band.n, band.field / band.n
    q = torch.fft.fftfreq(n, step, dtype=torch.float64)
    q2 = q[:, None] ** 2 + q[None, :] ** 2
    spread = torch.sinc(step * q2.sqrt() / math.pi) * step**2
    edge = ((q2.sqrt() - band.limit + band.edge) / band.edge).clamp(0, 1)
    soft = 0.5 * (1 + torch.cos(math.pi * edge))
    for index in range(configurations[0].count):
        planes = []
        for c in configurations:
            total = torch.zeros(n, n, dtype=torch.float64)
            for number in set(c.numbers[c.index == index].tolist()):
                atoms = torch.zeros(n, n, dtype=torch.float64)
                for x, y in c.places[(c.index == index) & (c.numbers == number)] / step:
                    i, j = math.floor(x), math.floor(y)
                    for di, wx in ((0, 1 - x + i), (1, x - i)):
                        for dj, wy in ((0, 1 - y + j), (1, y - j)):
                            atoms[(i + di) % n, (j + dj) % n] += wx * wy
                total += torch.fft.ifft2(torch.fft.fft2(atoms) * scattering_factor(number, q2) / spread).real
            t = torch.exp(1j * band.sigma * total)
            planes.append(torch.fft.ifft2(torch.fft.fft2(t) * soft))
        yield torch.stack(planes).to(dtype).mT.contiguous().numpy()
