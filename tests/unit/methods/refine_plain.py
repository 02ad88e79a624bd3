"""Refinement written as plainly as possible, one pixel, one pair of cells or one step at a time."""

from __future__ import annotations

import itertools
from collections import deque

import numpy as np
import scipy.sparse
from numpy.typing import NDArray


def components(mask: NDArray[np.bool_], edges: NDArray[np.floating], threshold: float = 0.5) -> list[set[tuple]]:
    """Pixels of the 4-connected components, by flooding."""
    height, width = mask.shape
    left = {(y, x) for y in range(height) for x in range(width) if mask[y, x] and edges[y, x] < threshold}
    found = []
    while left:
        first = min(left)
        left.remove(first)
        component, waiting = {first}, deque([first])
        while waiting:
            y, x = waiting.popleft()
            for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if near in left:
                    left.remove(near)
                    component.add(near)
                    waiting.append(near)
        found.append(component)
    return found


def affinities(edges: NDArray[np.floating], radius: int = 5) -> NDArray[np.float64]:
    """A of every pair of cells, by sampling nothing: each cell of the box is tested for its distance to the line."""
    height, width = edges.shape
    cells = list(itertools.product(range(height), range(width)))
    found = np.eye(len(cells))
    for (i, (a, b)), (j, (c, d)) in itertools.combinations(enumerate(cells), 2):
        down, right = c - a, d - b
        if down * down + right * right >= radius * radius:
            continue
        strongest = 0.0
        for y in range(min(a, c), max(a, c) + 1):
            for x in range(min(b, d), max(b, d) + 1):
                off = abs(down * (x - b) - right * (y - a)) / np.hypot(down, right)
                if off < 1:
                    strongest = max(strongest, float(edges[y, x]))
        found[i, j] = found[j, i] = 1 - strongest
    return found


def transitions(edges: NDArray[np.floating], radius: int = 5, beta: float = 10.0) -> NDArray[np.float64]:
    """T, row-normalised."""
    powers = affinities(edges, radius) ** beta
    return powers / powers.sum(1, keepdims=True)


def sparse_transitions(edges: NDArray[np.floating], radius: int = 5, beta: float = 10.0) -> scipy.sparse.csr_matrix:
    """T as a sparse matrix, built a neighbour at a time; IRNet's way."""
    height, width = edges.shape
    number = np.arange(height * width).reshape(height, width)
    rows, columns, values = [number.ravel()], [number.ravel()], [np.ones(number.size)]
    for down, right in itertools.product(range(radius), range(1 - radius, radius)):
        if down * down + right * right >= radius * radius or (down == 0 and right <= 0):
            continue
        left, bottom = max(0, -right), height - down
        end = width - max(0, right)
        if bottom <= 0 or end <= left:
            continue
        strongest = np.zeros((bottom, end - left))
        for y, x in itertools.product(range(down + 1), range(min(0, right), max(0, right) + 1)):
            if (down * x - right * y) ** 2 < down * down + right * right:
                np.maximum(strongest, edges[y : bottom + y, left + x : end + x], out=strongest)
        here, there = number[:bottom, left:end].ravel(), number[down:, left + right : end + right].ravel()
        rows += [here, there]
        columns += [there, here]
        values += [(1 - strongest.ravel()) ** beta] * 2
    matrix = scipy.sparse.coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(number.size,) * 2
    ).tocsr()
    return scipy.sparse.diags(1 / np.asarray(matrix.sum(1)).ravel()) @ matrix


def merge(masks: list[NDArray[np.bool_]], scores: list[float], above: float = 0.5) -> list[tuple]:
    """(mask, score, members) after joining pairs, all IoUs computed anew each time."""
    left = [(mask.copy(), score, [index]) for index, (mask, score) in enumerate(zip(masks, scores, strict=True))]
    while True:
        best, pair = above, None
        for i, j in itertools.combinations(range(len(left)), 2):
            union = int((left[i][0] | left[j][0]).sum())
            iou = int((left[i][0] & left[j][0]).sum()) / union if union else 0.0
            if iou > best:
                best, pair = iou, (i, j)
        if pair is None:
            return left
        i, j = pair
        first, second = left[i], left.pop(j)
        left[i] = (first[0] | second[0], max(first[1], second[1]), sorted(first[2] + second[2]))


def touching(masks: NDArray[np.bool_], categories: list[int], within: int) -> list[tuple[int, int]]:
    """Pairs of one class with pixels at most `within` apart in rows and columns."""
    found = []
    for i, j in itertools.combinations(range(len(masks)), 2):
        if categories[i] != categories[j] or not masks[i].any() or not masks[j].any():
            continue
        a, b = np.argwhere(masks[i]), np.argwhere(masks[j])
        if np.abs(a[:, None] - b[None]).max(2).min() <= within:
            found.append((i, j))
    return found
