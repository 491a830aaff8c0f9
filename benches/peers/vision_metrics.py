"""Writes tests/golden-extra/vision_metrics.json: random masks, detections and predictions with the figures that
pycocotools and torchmetrics give for them. The test `vision_metrics` of spikelet-data must agree to their digits.

Run: python vision_metrics.py ../../tests/golden-extra/vision_metrics.json
Needs numpy, pycocotools, torch, torchmetrics (requirements.txt).
"""

import contextlib
import io
import json
import sys

import numpy as np
import torch
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_jaccard_index,
)

rng = np.random.default_rng(7)


def polygon(h, w):
    """A star around a random middle; some corners lie outside of the image."""
    n = int(rng.integers(3, 9))
    middle = rng.uniform(0, [w, h])
    angle = np.sort(rng.uniform(0, 2 * np.pi, n))
    radius = rng.uniform(1, 0.5 * max(h, w), n)
    corners = middle + np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None]
    if rng.random() < 0.3:
        corners = np.round(corners)
    return [round(float(v), 2) for v in corners.reshape(-1)]


def text(mask):
    return mask["counts"].decode()


def masks():
    out = []
    for _ in range(60):
        h, w = (int(v) for v in rng.integers(1, 60, 2))
        polygons = [polygon(h, w) for _ in range(int(rng.integers(1, 4)))]
        mask = rle.merge(rle.frPyObjects(polygons, h, w))
        box = [float(v) for v in rle.toBbox(mask)]
        out.append(dict(height=h, width=w, polygons=polygons, runs=text(mask), area=int(rle.area(mask)), box=box))
    return out


def annotated(images, categories, size):
    """Truths and detections of random images: near misses, crowds, equal scores, all sizes."""
    truths, found = [], []
    for image in range(images):
        h, w = size
        for _ in range(int(rng.integers(0, 12))):
            category = int(rng.integers(1, categories + 1))
            shape = rle.merge(rle.frPyObjects([polygon(h, w)], h, w))
            area = float(rle.area(shape))
            if area == 0:
                continue
            box = [float(v) for v in rle.toBbox(shape)]
            crowd = int(rng.random() < 0.1)
            truths.append(dict(id=len(truths) + 1, image_id=image, category_id=category, bbox=box, area=area,
                               iscrowd=crowd, segmentation=dict(size=[h, w], counts=text(shape))))
            for _ in range(int(rng.integers(0, 3))):
                moved = np.roll(rle.decode(shape), rng.integers(-3, 4, 2), (0, 1))
                near = rle.encode(np.asfortranarray(moved))
                found.append(detection(image, category if rng.random() < 0.9 else 1, near, size))
        for _ in range(int(rng.integers(0, 4))):
            shape = rle.merge(rle.frPyObjects([polygon(h, w)], h, w))
            if rle.area(shape) > 0:
                found.append(detection(image, int(rng.integers(1, categories + 1)), shape, size))
    return truths, found


def detection(image, category, shape, size):
    box = [round(float(v + d), 3) for v, d in zip(rle.toBbox(shape), rng.uniform(-1, 1, 4))]
    box[2:] = [max(v, 1.0) for v in box[2:]]
    return dict(image_id=image, category_id=category, score=round(float(rng.random()), 1), bbox=box,
                segmentation=dict(size=list(size), counts=text(shape)))


def coco(images, categories, size):
    truths, found = annotated(images, categories, size)
    content = dict(
        images=[dict(id=i, file_name=f"{i}.png", height=size[0], width=size[1]) for i in range(images)],
        categories=[dict(id=c, name=f"c{c}") for c in range(1, categories + 1)],
        annotations=truths,
    )
    figures = {}
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO()
        api.dataset = content
        api.createIndex()
        for kind in ["bbox", "segm"]:
            # loadRes takes the kind from what a result holds.
            results = [{k: v for k, v in d.items() if (k == "bbox") != (kind == "segm") or k not in ("bbox", "segmentation")}
                       for d in found]
            evaluation = COCOeval(api, api.loadRes(results), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            figures[kind] = [float(v) for v in evaluation.stats]
    return dict(truth=content, found=found, figures=figures)


def segmentation(classes, absent, n=500):
    truth = torch.from_numpy(rng.integers(0, classes - absent, n))
    guess = torch.from_numpy(rng.integers(0, classes - absent, n))
    predicted = torch.where(torch.from_numpy(rng.random(n) < 0.6), truth, guess)
    ignored = torch.from_numpy(rng.random(n) < 0.1)
    marked = torch.where(ignored, torch.full_like(truth, 255), truth)
    kept = ~ignored
    per_class = multiclass_jaccard_index(predicted[kept], truth[kept], classes, average=None)
    return dict(
        classes=classes,
        truth=marked.tolist(),
        predicted=predicted.tolist(),
        confusion=multiclass_confusion_matrix(predicted[kept], truth[kept], classes).flatten().tolist(),
        overlaps=per_class.double().tolist(),
        mean_overlap=float(multiclass_jaccard_index(predicted, marked, classes, ignore_index=255, average="macro")),
        accuracy=float(multiclass_accuracy(predicted, marked, classes, ignore_index=255, average="micro")),
    )


def ranking(classes=12, n=80):
    scores = torch.from_numpy(rng.normal(size=(n, classes)).astype(np.float32))
    truth = torch.from_numpy(rng.integers(0, classes, n))
    top = {k: float(multiclass_accuracy(scores, truth, classes, top_k=k, average="micro")) for k in (1, 5)}
    return dict(scores=[[float(v) for v in row] for row in scores], truth=truth.tolist(), top1=top[1], top5=top[5])


if __name__ == "__main__":
    out = dict(
        masks=masks(),
        coco=[coco(12, 3, (120, 140)), coco(8, 1, (60, 80))],
        segmentation=[segmentation(5, 0), segmentation(7, 2)],
        ranking=ranking(),
    )
    with open(sys.argv[1], "w") as file:
        json.dump(out, file, separators=(",", ":"))
        file.write("\n")
