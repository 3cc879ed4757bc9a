"""What a lens makes of a point out of focus: the image of its aperture, a disc or a polygon of blades."""

import numpy as np

from unires.degrade.kernels import Kernel, disc

POINT = 0.5  # a blur of this radius or less stays within its pixel


def polygon(radius: float, blades: int, angle: float = 0.0, samples: int = 16) -> Kernel:
    """Defocus kernel of a closed-down lens: a regular polygon with anti-aliased edge, sum 1.

    It has the area of the disc of the same radius, so both let the same light through and blur alike. Coverage
    is counted on samples x samples points a pixel, as `disc_coverage` does.

    Paper: our choice, the geometric image of a point out of focus.
    Range: radius in pixels, above 0; blades from 3; angle in radians turns one edge away from the column axis.
    Test:  test_defocus.py::test_polygon_area, test_defocus.py::test_polygon_symmetry,
           test_defocus.py::test_many_blades_make_a_disc
    """
    sector = np.pi / blades  # half the angle that one edge spans
    inner = radius * np.sqrt(sector / np.tan(sector))  # distance of the edges; a disc's area asks for it
    half = int(np.ceil(inner / np.cos(sector) - 0.5))  # outermost pixel that a corner may touch
    place = ((np.arange((2 * half + 1) * samples) + 0.5) / samples - half - 0.5).astype(np.float32)
    row, column = place[:, None], place[None, :]
    inside = np.ones((len(place), len(place)), bool)
    for edge in angle + 2 * sector * np.arange(blades):
        inside &= row * np.float32(np.sin(edge)) + column * np.float32(np.cos(edge)) <= inner
    coverage = inside.reshape(2 * half + 1, samples, 2 * half + 1, samples).mean(axis=(1, 3))
    return coverage / coverage.sum()


def aperture(radius: float, blades: int = 0, angle: float = 0.0) -> Kernel:
    """Kernel of a signed circle of confusion: a disc (blades 0) or a polygon; at most half a pixel is a point.

    Light that crosses behind the sensor lands upside down: a negative radius, farther than the focus, turns
    the polygon by half a turn.

    Paper: our choice.  Range: radius in pixels, of any sign.
    Test:  test_defocus.py::test_far_side_is_upside_down
    """
    if abs(radius) <= POINT:
        return np.ones((1, 1))
    return polygon(abs(radius), blades, angle + np.pi * (radius < 0)) if blades else disc(abs(radius))
