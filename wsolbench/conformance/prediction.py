"""Checks of ``predict``: its shape, what it depends on, and that its maps are high on the object, not beside it."""

import random
from unittest import SkipTest

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from wsolbench.conformance.subject import SIZE, CheckFailure, Subject, first_difference, outputs, predict, total
from wsolbench.engine.fit import make_optimizer, train_step
from wsolbench.engine.watch import LossWatch
from wsolbench.method import Method
from wsolbench.recipe import Recipe

BATCH_TOLERANCE = 1e-3
"""Allowed difference between an image alone and in a batch, as a share of the output's spread."""
STEPS = 40
CONTRAST = 0.3
"""Smallest contrast that counts, in standard deviations of a map; the built-in methods reach 1.3 to 2.5."""
SIDE = 12
"""Side of the square of the synthetic task, pixels."""


def maps_and_logits_have_their_shape(subject: Subject) -> None:
    """At two image sizes, with 2 and with 200 classes: maps (N, h, w), logits (N, K), float32 and finite."""
    for size in (SIZE, (24, 40)):
        for classes in (2, 200):
            method = subject.build(classes=classes)
            images, labels = subject.batch(3, size, classes)
            if not total(method(images, labels, subject.draw(method, images))).isfinite():
                seen = f"a loss that is not finite for {classes} classes and images of {size[0]}x{size[1]}"
                raise subject.failure("losses that are finite at every size and number of classes", seen, "losses")
            for wanted in (labels, None):
                check_shapes(subject, method, images, wanted)


def check_shapes(subject: Subject, method: Method[object], images: Tensor, labels: Tensor | None) -> None:
    """Check shape, type and finiteness of a prediction.

    Raises:
        CheckFailure: something is wrong; the size and the number of classes are named.
    """
    n, _, height, width = images.shape
    classes = method.network.num_classes
    case = f" ({classes} classes, {n} images of {height}x{width}, labels {'given' if labels is not None else 'None'})"
    prediction = predict(method, images, labels)

    def wrong(expected: str, seen: str) -> CheckFailure:
        return subject.failure(expected, seen + case, "predict")

    maps, logits = prediction.maps, prediction.logits
    if maps.ndim != 3 or maps.shape[0] != n or 0 in maps.shape:
        raise wrong("one map an image, float32 (N, h, w)", f"maps of shape {tuple(maps.shape)}")
    if abs(maps.shape[1] * width - maps.shape[2] * height) > max(height, width):
        raise wrong("maps of the images' proportions, height before width", f"maps of shape {tuple(maps.shape)}")
    if logits is not None and logits.shape != (n, classes):
        raise wrong("logits of shape (N, K), K the number of classes", f"logits of shape {tuple(logits.shape)}")
    for name, value in outputs(prediction).items():
        if value.dtype != torch.float32:
            raise wrong(f"{name} in float32", f"{name} in {str(value.dtype).removeprefix('torch.')}")
        if not value.isfinite().all():
            raise wrong(f"{name} that are finite", f"NaN or infinity in {name}")


def prediction_does_not_depend_on_the_batch(subject: Subject) -> None:
    """An image's map and logits are the same alone and among other images."""
    method = subject.build()
    images, labels = subject.batch(n=5)
    whole = outputs(predict(method, images, labels))
    for index in range(5):
        one = slice(index, index + 1)
        alone = outputs(predict(method, images[one], labels[one]))
        if difference := first_difference({name: value[one] for name, value in whole.items()}, alone, BATCH_TOLERANCE):
            seen = f"image {index} of 5, predicted alone and with the others: {difference}"
            raise subject.failure("a prediction that does not depend on the rest of the batch", seen, "predict")


def prediction_is_repeatable(subject: Subject) -> None:
    """Predicting twice gives the same, whatever the global seeds are, and changes no weight or buffer."""
    method = subject.build()
    images, labels = subject.batch()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    given = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        given.append(outputs(predict(method, images, labels)))
    if difference := first_difference(given[0], given[1]):
        expected = "the same prediction for the same images: no randomness, no layer in training mode"
        raise subject.failure(expected, f"predicted twice, {difference}", "predict")
    if difference := first_difference(before, method.state_dict()):
        expected = "a prediction that changes no weight and no statistic"
        raise subject.failure(expected, f"after predict in evaluation mode, {difference}", "predict")


def no_label_means_the_top_class(subject: Subject) -> None:
    """Without labels the map is that of the class with the largest logit."""
    for seed in range(3):  # an untrained network may have one class for all images
        method = subject.build(classes=20, seed=seed)
        images, _ = subject.batch(n=8, seed=seed)
        free = predict(method, images)
        if free.logits is None:
            raise SkipTest("the method does not classify")
        told = predict(method, images, free.logits.argmax(dim=1))
        if difference := first_difference(outputs(told), outputs(free), BATCH_TOLERANCE):
            seen = f"labels=None and labels=logits.argmax(dim=1): {difference}"
            raise subject.failure("labels=None to mean the class with the largest logit", seen, "predict")


def views_are_pictures_or_maps(subject: Subject) -> None:
    """Views gives named pictures (N, 3, H, W) or maps (N, h, w), finite."""
    method = subject.build()
    images, labels = subject.batch()
    with torch.inference_mode():
        shown = method.eval().views(images, labels, subject.draw(method, images))
    for name, value in shown.items():
        if tuple(value.shape) != (4, 3, *SIZE) and not (value.ndim == 3 and len(value) == 4):
            seen = f"'{name}' has shape {tuple(value.shape)}"
            raise subject.failure("pictures (N, 3, H, W) or maps (N, h, w)", seen, "views")
        if not value.isfinite().all():
            raise subject.failure("views that are finite", f"NaN or infinity in '{name}'", "views")


def map_is_high_on_the_object(subject: Subject) -> None:
    """Trained on squares whose colour is the class, the maps are higher inside the square than outside."""
    contrast = learned_contrast(subject)
    if contrast < CONTRAST:
        turned = "; is the map's sign turned?" if contrast < -CONTRAST else ""
        seen = (
            f"after {STEPS} steps on coloured squares in noise the map inside the square minus that outside is "
            f"{contrast:+.2f} standard deviations on average, where {CONTRAST} is the least{turned}"
        )
        raise subject.failure("maps that are high on the object and low beside it", seen, "predict")


def learned_contrast(subject: Subject) -> float:
    """Train on the squares; return how far the maps of new images are higher inside than outside.

    Returns:
        Mean over 64 images of (mean inside - mean outside), in standard deviations of each map.
    """
    method = subject.build()
    optimizer = make_optimizer(method, Recipe(backbone="resnet-tiny", lr=0.02))
    watch = LossWatch(first_step=1)
    for step in range(STEPS):
        torch.manual_seed(step)
        images, labels, inside = squares(16, seed=step)
        images = subject.with_masks(images, inside)
        draws = subject.draw(method, images, step)
        train_step(method.train(), optimizer, images, labels, draws, precision="fp32", watch=watch)
    images, labels, inside = squares(64, seed=STEPS)
    maps = predict(method, images.contiguous(memory_format=torch.channels_last), labels).maps
    wide = functional.interpolate(maps[:, None], size=SIZE, mode="bilinear", align_corners=False)[:, 0]
    area = SIDE * SIDE
    mean_inside = (wide * inside).sum(dim=(1, 2)) / area
    mean_outside = (wide * ~inside).sum(dim=(1, 2)) / (SIZE[0] * SIZE[1] - area)
    spread = wide.flatten(1).std(dim=1).clamp_min(1e-12)
    return float(((mean_inside - mean_outside) / spread).mean())


def squares(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make a task that any method learns in seconds: a square on noise, red, green or blue by its class.

    Returns:
        Images (n, 3, 32, 32), labels int64 (n,), and bool (n, 32, 32), true inside the square.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=generator)
    images = 0.5 * torch.randn(n, 3, *SIZE, generator=generator)
    corner = torch.randint(0, SIZE[0] - SIDE + 1, (n, 2), generator=generator)
    steps = torch.arange(SIZE[0])
    rows, columns = ((steps >= corner[:, i, None]) & (steps < corner[:, i, None] + SIDE) for i in (0, 1))
    inside = rows[:, :, None] & columns[:, None, :]
    colour = functional.one_hot(labels, 3).to(images.dtype)[:, :, None, None]
    return images + 3 * colour * inside[:, None], labels, inside
