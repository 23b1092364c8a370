"""Draws pictures by formula: fractals (natural-like) and contours (man-made-like).

A class is told by its shape and by the surface of the shape, as things in photographs are. The
shape is one formula with its own constants. The surface is stripes of a hue, a width and a
direction. Within a class the constants vary a little, and position, rotation, scale, brightness
and ground vary a lot. The ground has the power spectrum of photographs, which falls with the square
of the frequency (Field 1987, "Relations between the statistics of natural images and the response
properties of cortical cells"). Edges, hues and wavelengths are what a first layer finds there.

The fractals are attractors of iterated function systems, chosen by how much of the picture they
fill, after Kataoka et al. (2020), "Pre-training without Natural Images". The contours are closed
curves r(angle): polygons, stars and sums of harmonics.
"""

import colorsys

import numpy as np

FAMILIES = ("fractal", "contour")
_SUPERSAMPLING = 2  # Shapes are drawn at twice the size and averaged down.


def class_names(classes: int) -> list[str]:
    """Names so many classes, fractals first: `fractal_00`, ..., `contour_00`, ..."""
    fractals = (classes + 1) // 2
    return [f"fractal_{i:02d}" for i in range(fractals)] + [
        f"contour_{i:02d}" for i in range(classes - fractals)
    ]


def draw_class(name: str, images: int, size: int, *, seed: int = 0) -> np.ndarray:
    """Draws pictures of one class.

    Args:
        name: one of `class_names(...)`.
        images: how many pictures.
        size: side in pixels.
        seed: another seed gives other pictures of the same class.

    Returns:
        uint8 (images, size, size, 3), a pure function of the arguments.
    """
    family, index = name.split("_")
    identity = [FAMILIES.index(family), int(index)]
    constants = np.random.default_rng([2014, *identity])
    rng = np.random.default_rng([2020, *identity, seed])
    fine = size * _SUPERSAMPLING
    shape = (_fractals if family == "fractal" else _contours)(constants, rng, images, fine)
    coarse = (images, size, _SUPERSAMPLING, size, _SUPERSAMPLING)
    cover = shape.reshape(coarse).mean(axis=(2, 4))[..., None]
    surface = _surface(constants, rng, images, size)
    picture = cover * surface + (1 - cover) * _ground(rng, images, size)
    picture = picture + rng.normal(0, 0.03, picture.shape)
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _place(rng, images: int):
    """Draws rotation, scale and centre of each picture's shape, in units of half the side."""
    angle = rng.uniform(-1, 1, images)
    scale = rng.uniform(0.65, 0.95, images)
    centre = rng.uniform(-1, 1, (images, 2)) * (1 - scale)[:, None]
    return angle, scale, centre


# Fractals.


def _fractals(constants, rng, images: int, size: int) -> np.ndarray:
    maps = _choose_maps(constants)
    jitter = rng.normal(0, 0.025, (images, *maps.shape))
    points = _attractor(rng, maps + jitter, points=120 * size // 2)
    angle, scale, centre = _place(rng, images)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.einsum("xyi,ipy->ipx", rotation, points) * scale[:, None, None]
    return np.minimum(1, _raster(points + centre[:, None], size))


def _choose_maps(constants) -> np.ndarray:
    """Draws affine maps (k, 2, 3) whose attractor is neither dust nor a blob nor a line."""
    while True:
        k = constants.integers(2, 5)
        maps = constants.uniform(-1, 1, (k, 2, 3))
        largest = np.linalg.svd(maps[:, :, :2], compute_uv=False)[:, 0]
        target = constants.uniform(0.45, 0.85, k)
        maps[:, :, :2] *= (target / largest)[:, None, None]
        points = _attractor(constants, maps[None], points=4000)[0]
        spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
        filled = (_raster(points[None] * 0.9, 32) > 0).mean()
        if spread[1] > 0.35 * spread[0] and 0.12 < filled < 0.45:
            return maps


def _attractor(rng, maps: np.ndarray, *, points: int) -> np.ndarray:
    """Plays the chaos game: follows many points through affine maps that are chosen at random.

    Args:
        rng: NumPy generator.
        maps: (images, k, 2, 3), affine maps.
        points: about so many points are given for each picture.

    Returns:
        (images, points, 2), centred, in about [-1, 1].
    """
    images = len(maps)
    particles, settle = max(points // 20, 1), 12
    position = np.zeros((images, particles, 2))
    # A map is taken as often as it covers area, since thin parts would stay empty otherwise.
    area = np.abs(np.linalg.det(maps[..., :2])) + 0.02
    bounds = np.cumsum(area / area.sum(1, keepdims=True), axis=1)
    trace = []
    for step in range(settle + 20):
        choice = (rng.random((images, particles, 1)) > bounds[:, None, :-1]).sum(-1)
        chosen = np.take_along_axis(maps, choice[..., None, None], axis=1)
        position = (chosen[..., :2] @ position[..., None])[..., 0] + chosen[..., 2]
        if step >= settle:
            trace.append(position)
    cloud = np.concatenate(trace, axis=1)
    cloud = cloud - cloud.mean(axis=1, keepdims=True)
    radius = np.quantile(np.linalg.norm(cloud, axis=-1), 0.97, axis=1)
    return cloud / radius[:, None, None]


def _raster(points: np.ndarray, size: int) -> np.ndarray:
    """Counts points in [-1, 1]^2 per pixel: (images, points, 2) -> (images, size, size)."""
    pixel = np.floor((points + 1) * (size / 2)).astype(int)
    inside = ((pixel >= 0) & (pixel < size)).all(axis=-1)
    image = np.broadcast_to(np.arange(len(points))[:, None], inside.shape)
    flat = (image * size + pixel[..., 1]) * size + pixel[..., 0]
    counts = np.bincount(flat[inside], minlength=len(points) * size * size)
    return counts.reshape(-1, size, size)


# Contours.


def _contours(constants, rng, images: int, size: int) -> np.ndarray:
    kind = constants.integers(3)
    radius = (_polygon, _star, _harmonics)[kind](constants, rng, images)
    angle, scale, centre = _place(rng, images)
    axis = (np.arange(size) + 0.5) * (2 / size) - 1
    x = axis[None, None, :] - centre[:, 0, None, None]
    y = axis[None, :, None] - centre[:, 1, None, None]
    theta = (np.arctan2(y, x) - angle[:, None, None]) % (2 * np.pi)
    edge = radius(theta) * scale[:, None, None]
    distance = (edge - np.hypot(x, y)) * (size / 2)
    filled = np.clip(distance + 0.5, 0, 1)
    # Three in ten pictures show the outline only.
    width = rng.uniform(0.15, 0.3, images) * scale * (size / 2)
    hole = np.clip(distance - width[:, None, None] + 0.5, 0, 1)
    return filled - hole * (rng.random(images) < 0.3)[:, None, None]


def _polygon(constants, rng, images):
    """Draws straight edges between 3 to 8 corners at uneven angles and distances."""
    corners = constants.integers(3, 9)
    angles = (np.arange(corners) + constants.uniform(-0.25, 0.25, corners)) * 2 * np.pi / corners
    radii = constants.uniform(0.55, 1, corners)
    radii = (radii / radii.max()) * np.exp(rng.normal(0, 0.04, (images, corners)))
    return lambda theta: _segments(theta, angles, radii)


def _star(constants, rng, images):
    """Draws a star of 3 to 9 equal points with straight edges, twisted or not."""
    points = constants.integers(3, 10)
    twist = constants.choice([0.0, 0.35])
    inner = constants.uniform(0.3, 0.65) * np.exp(rng.normal(0, 0.06, images))
    angles = np.arange(2 * points) * np.pi / points
    angles[1::2] += twist * np.pi / points
    radii = np.ones((images, 2 * points))
    radii[:, 1::2] = inner[:, None]
    return lambda theta: _segments(theta, angles, radii)


def _harmonics(constants, rng, images):
    """Draws a smooth outline: a circle with three harmonics."""
    orders = constants.choice(np.arange(2, 8), 3, replace=False)
    amplitudes = constants.uniform(0.08, 0.3, 3) * np.exp(rng.normal(0, 0.1, (images, 3)))
    phases = constants.uniform(0, 2 * np.pi, 3)

    def radius(theta):
        waves = np.cos(theta[..., None] * orders + phases) * amplitudes[:, None, None]
        total = 1 + waves.sum(-1)
        return total / (1 + amplitudes.sum(1))[:, None, None]

    return radius


def _segments(theta, angles, radii):
    """Computes the radius at `theta` (images, h, w) of the closed polygon with these corners."""
    angles = angles % (2 * np.pi)
    order = np.argsort(angles)
    angles, radii = angles[order], radii[:, order]
    after = np.searchsorted(angles, theta) % len(angles)
    before = after - 1
    image = np.arange(len(radii))[:, None, None]
    r0, r1 = radii[image, before], radii[image, after]
    a0, a1 = angles[before], angles[after]
    # The line through two points in polar form; sines of differences need no unwrapping.
    return r0 * r1 * np.sin(a1 - a0) / (r0 * np.sin(theta - a0) + r1 * np.sin(a1 - theta))


# Surfaces and grounds.


def _surface(constants, rng, images: int, size: int) -> np.ndarray:
    """Draws stripes from a light to a dark tone of a hue: float (images, size, size, 3), 0..1."""
    hue, cycles, direction = constants.uniform((0, 4, 0), (1, 10, np.pi))  # Cycles a picture.
    hues = hue + rng.normal(0, 0.035, images)
    saturation = rng.uniform(0.45, 0.95, images)
    light, dark = rng.uniform(0.7, 1, images), rng.uniform(0.05, 0.3, images)
    tones = [
        np.array(
            [colorsys.hsv_to_rgb(*hsv) for hsv in zip(hues % 1, saturation, value, strict=True)]
        )
        for value in (light, dark)
    ]
    angle = direction + rng.normal(0, 0.2, images)
    frequency = 2 * np.pi * cycles / size * np.exp(rng.normal(0, 0.08, images))
    phase = rng.uniform(0, 2 * np.pi, images)
    axis = np.arange(size)
    x = np.einsum("i,w->iw", frequency * np.cos(angle), axis)[:, None, :]
    y = np.einsum("i,h->ih", frequency * np.sin(angle), axis)[:, :, None]
    wave = (0.5 + 0.5 * np.sin(x + y + phase[:, None, None]))[..., None]
    return wave * tones[0][:, None, None] + (1 - wave) * tones[1][:, None, None]


def _ground(rng, images: int, size: int) -> np.ndarray:
    """Draws clouds whose amplitude falls with the frequency: float (images, size, size, 3)."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf  # The mean is drawn apart.
    noise = np.fft.rfft2(rng.normal(0, 1, (images, 3, size, size)))
    clouds = np.fft.irfft2(noise / frequency, (size, size))
    clouds = np.moveaxis(clouds / clouds.std(axis=(2, 3), keepdims=True), 1, -1)
    # Most of the contrast is in brightness, which the channels share.
    clouds = 0.08 * clouds[..., :1] + 0.03 * clouds
    grey = rng.uniform(0.3, 0.7, (images, 1, 1, 1))
    return grey + rng.uniform(-0.12, 0.12, (images, 1, 1, 3)) + clouds
