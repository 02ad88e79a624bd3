"""One-to-one matching of map pixels and annotated pixels: exact, deterministic, repaired from map to map.

The problem, per annotator: among all one-to-one matchings of map and annotated pixels at most R apart, those
with the most pairs; among these, those of least total distance (in hundredths of a pixel, rounded); among
these, the one of least weight, a fixed 16-bit hash per pair. Pairs and distance are unique; the last rule
makes the pixels chosen so too, but for rare coincidences, so that it does not matter which other maps were
matched before.

The method is the shortest augmenting path with dual prices on a sparse graph. A pixel without a partner pays
`alone` (annotated) or nothing (map). Invariant between calls: for each pair of present pixels cost >= price +
price, with equality for partners; a present pixel without a partner has exactly the price `alone` (annotated)
or 0 (map), and no pixel has more. A pixel that leaves takes its partner out with it, which keeps the
invariant; each pixel that comes in is one shortest-path search. Hence a map that differs from the one before
in few pixels costs little.

Annotators are independent problems; they share one graph in which every map pixel has a copy for each
annotator that has a pixel near it. "Row" below is an annotated pixel, "column" a copy of a map pixel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

_FREE = -1  # present, without a partner
_ABSENT = -2
_TIE_BITS = 16
_LARGEST_PRICE_BITS = 60


class _Graph(NamedTuple):
    """Neighbours of rows and of columns as compressed lists, and what each row and column stands for."""

    row_start: NDArray[np.int64]
    row_neighbour: NDArray[np.int32]
    row_cost: NDArray[np.int64]
    row_annotator: NDArray[np.int32]
    column_start: NDArray[np.int64]
    column_neighbour: NDArray[np.int32]
    column_cost: NDArray[np.int64]
    column_pixel: NDArray[np.int32]


class Matcher:
    """Matches binary maps of one image with its annotators.

    Any sequence of maps may be matched; neighbours that differ little are fast. The result for a map does not
    depend on the maps before it. Slow (minutes) only where dense, equally many pixels on both sides form one
    large connected whole, which lines do not.

    Args:
        annotators: bool (A, H, W).
        support: bool (H, W); every map to come lies inside it.
        radius: Largest distance of a pair, pixels.
    """

    def __init__(self, annotators: NDArray[np.bool_], support: NDArray[np.bool_], radius: float) -> None:
        self._shape = support.shape
        self._annotators = len(annotators)
        reach = int(radius)
        down, right = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
        squared = down**2 + right**2
        inside = squared <= radius**2
        down, right = down[inside], right[inside]
        hundredths = np.rint(100 * np.sqrt(squared[inside])).astype(np.int64)

        # One integer holds the three aims in order: pairs, then distance, then the tie weight.
        most_pairs = int(annotators.sum(axis=(1, 2)).max(initial=0)) + 1
        farthest = int(hundredths.max()) + 1
        needed = most_pairs.bit_length() * 2 + farthest.bit_length()
        tie_bits = max(0, min(_TIE_BITS, _LARGEST_PRICE_BITS - needed))
        scale = most_pairs << tie_bits
        self._alone = np.int64(most_pairs * farthest * scale)

        self._graph = _build_graph(annotators, support, down, right, hundredths * scale, tie_bits)
        self._scale = scale
        rows, columns = self._graph.row_annotator.size, self._graph.column_pixel.size
        self._row_partner = np.full(rows, _FREE, np.int32)
        self._row_price = np.full(rows, self._alone, np.int64)
        self._column_partner = np.full(columns, _ABSENT, np.int32)
        self._column_price = np.zeros(columns, np.int64)
        # Working memory of the search, sized for the worst case and mostly never touched.
        nodes, edges = max(rows, columns), self._graph.row_cost.size
        self._heap_key = np.empty(edges + 1, np.int64)
        self._heap_node = np.empty(edges + 1, np.int32)
        self._distance = np.empty(nodes, np.int64)
        self._came_from = np.empty(nodes, np.int32)
        self._seen_in = np.zeros(nodes, np.int64)
        self._settled = np.empty(nodes, np.int32)
        self._search = np.zeros(1, np.int64)

    def match(self, mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int]:
        """Match one map with every annotator.

        Args:
            mask: bool (H, W), inside `support`.

        Returns:
            The number of pairs per annotator, int64 (A,), and the number of map pixels that are in a pair for
            at least one annotator.
        """
        pairs = np.zeros(self._annotators, np.int64)
        explained = _match(
            np.ascontiguousarray(mask).ravel(),
            self._graph,
            self._alone,
            self._row_partner,
            self._row_price,
            self._column_partner,
            self._column_price,
            (
                self._heap_key,
                self._heap_node,
                self._distance,
                self._came_from,
                self._seen_in,
                self._settled,
                self._search,
            ),
            pairs,
        )
        return pairs, int(explained)

    def distances(self) -> NDArray[np.int64]:
        """Total distance of the last map's pairs per annotator, int64 (A,), hundredths of a pixel."""
        totals = np.zeros(self._annotators, np.int64)
        _add_distances(self._graph, self._row_partner, self._scale, totals)
        return totals


def _build_graph(annotators, support, down, right, cost, tie_bits) -> _Graph:
    row_start, row_neighbour, row_cost, row_annotator, column_pixel = _list_pairs(
        np.ascontiguousarray(annotators), np.ascontiguousarray(support), down, right, cost, tie_bits
    )
    column_start, column_neighbour, column_cost = _transpose(row_start, row_neighbour, row_cost, column_pixel.size)
    return _Graph(
        row_start,
        row_neighbour,
        row_cost,
        row_annotator,
        column_start,
        column_neighbour,
        column_cost,
        column_pixel,
    )


@njit(cache=True)
def _list_pairs(annotators, support, down, right, cost, tie_bits):
    """Rows in reading order per annotator, each with the support pixels within reach."""
    n_annotators, height, width = annotators.shape
    n_rows = 0
    n_pairs = 0
    for a in range(n_annotators):
        for y in range(height):
            for x in range(width):
                if not annotators[a, y, x]:
                    continue
                before = n_pairs
                for k in range(down.size):
                    v, h = y + down[k], x + right[k]
                    if 0 <= v < height and 0 <= h < width and support[v, h]:
                        n_pairs += 1
                if n_pairs > before:
                    n_rows += 1
    start = np.zeros(n_rows + 1, np.int64)
    neighbour = np.empty(n_pairs, np.int32)
    pair_cost = np.empty(n_pairs, np.int64)
    annotator = np.empty(n_rows, np.int32)
    column_pixel = np.empty(n_pairs, np.int32)
    tie_mask = (1 << tie_bits) - 1
    column_of = np.empty((height, width), np.int32)
    row = 0
    pair = 0
    n_columns = 0
    for a in range(n_annotators):
        column_of[:] = -1
        for y in range(height):
            for x in range(width):
                if not annotators[a, y, x]:
                    continue
                before = pair
                for k in range(down.size):
                    v, h = y + down[k], x + right[k]
                    if not (0 <= v < height and 0 <= h < width and support[v, h]):
                        continue
                    if column_of[v, h] < 0:
                        column_of[v, h] = n_columns
                        column_pixel[n_columns] = v * width + h
                        n_columns += 1
                    mixed = ((y * width + x) * 6364136223846793005 + (v * width + h)) * 1442695040888963407
                    mixed ^= mixed >> 29
                    mixed *= 6364136223846793005
                    neighbour[pair] = column_of[v, h]
                    pair_cost[pair] = cost[k] + ((mixed >> 40) & tie_mask)
                    pair += 1
                if pair > before:
                    annotator[row] = a
                    row += 1
                    start[row] = pair
    return start, neighbour, pair_cost, annotator, column_pixel[:n_columns].copy()


@njit(cache=True)
def _transpose(row_start, row_neighbour, row_cost, n_columns):
    start = np.zeros(n_columns + 1, np.int64)
    for pair in range(row_neighbour.size):
        start[row_neighbour[pair] + 1] += 1
    for column in range(n_columns):
        start[column + 1] += start[column]
    filled = start[:-1].copy()
    neighbour = np.empty(row_neighbour.size, np.int32)
    cost = np.empty(row_neighbour.size, np.int64)
    for row in range(row_start.size - 1):
        for pair in range(row_start[row], row_start[row + 1]):
            column = row_neighbour[pair]
            neighbour[filled[column]] = row
            cost[filled[column]] = row_cost[pair]
            filled[column] += 1
    return start, neighbour, cost


@njit(cache=True)
def _match(mask, graph, alone, row_partner, row_price, column_partner, column_price, scratch, pairs):
    """Bring the matching from the last map to this one; count pairs per annotator and explained pixels."""
    displaced = np.empty(row_partner.size, np.int32)
    n_displaced = 0
    for column in range(column_partner.size):
        if column_partner[column] != _ABSENT and not mask[graph.column_pixel[column]]:
            row = column_partner[column]
            if row >= 0:
                row_partner[row] = _ABSENT
                displaced[n_displaced] = row
                n_displaced += 1
            column_partner[column] = _ABSENT
    for column in range(column_partner.size):
        if column_partner[column] == _ABSENT and mask[graph.column_pixel[column]]:
            _insert(
                column,
                graph.column_start,
                graph.column_neighbour,
                graph.column_cost,
                np.int64(0),
                column_partner,
                column_price,
                row_partner,
                row_price,
                scratch,
            )
    for index in range(n_displaced):
        _insert(
            displaced[index],
            graph.row_start,
            graph.row_neighbour,
            graph.row_cost,
            alone,
            row_partner,
            row_price,
            column_partner,
            column_price,
            scratch,
        )
    for row in range(row_partner.size):
        if row_partner[row] >= 0:
            pairs[graph.row_annotator[row]] += 1
    # A pixel is explained once however many of its copies have a partner.
    counted = np.zeros(mask.size, np.bool_)
    explained = 0
    for column in range(column_partner.size):
        if column_partner[column] >= 0 and not counted[graph.column_pixel[column]]:
            counted[graph.column_pixel[column]] = True
            explained += 1
    return explained


@njit(cache=True)
def _insert(root, start, neighbour, cost, alone, partner, price, other_partner, other_price, scratch):
    """Let one absent node in, at the least total cost.

    The node and its kind ("own") are rows or columns, "other" is the opposite kind. The cheapest change is a
    shortest path that ends at an "other" node without a partner, or at an "own" node that stays alone
    (perhaps the root itself).
    """
    heap_key, heap_node, distance, came_from, seen_in, settled, search = scratch

    # The root's price: as much as the constraints allow. Often the constraint that binds is final already.
    cheapest = alone
    nearest = -1
    for edge in range(start[root], start[root + 1]):
        other = neighbour[edge]
        if other_partner[other] != _ABSENT:
            reduced = cost[edge] - other_price[other]
            if reduced < cheapest:
                cheapest = reduced
                nearest = other
    price[root] = cheapest
    if nearest < 0:
        partner[root] = _FREE
        return
    if other_partner[nearest] == _FREE:
        partner[root] = nearest
        other_partner[nearest] = root
        return

    search[0] += 1
    stamp = search[0]
    best = alone - cheapest
    stays_alone = root
    ends_at = -1
    own = root
    so_far = np.int64(0)
    heap_size = 0
    n_settled = 0
    while True:
        base = so_far - price[own]
        for edge in range(start[own], start[own + 1]):
            other = neighbour[edge]
            if other_partner[other] == _ABSENT:
                continue
            reached = base + cost[edge] - other_price[other]
            if reached >= best or (seen_in[other] == stamp and reached >= distance[other]):
                continue
            seen_in[other] = stamp
            distance[other] = reached
            came_from[other] = own
            if other_partner[other] == _FREE:
                best = reached
                ends_at = other
                stays_alone = -1
            else:
                hole = heap_size
                heap_size += 1
                while hole > 0 and heap_key[(hole - 1) >> 1] > reached:
                    heap_key[hole] = heap_key[(hole - 1) >> 1]
                    heap_node[hole] = heap_node[(hole - 1) >> 1]
                    hole = (hole - 1) >> 1
                heap_key[hole] = reached
                heap_node[hole] = other
        next_other = -1
        while heap_size > 0 and heap_key[0] < best:
            key = heap_key[0]
            node = heap_node[0]
            heap_size -= 1
            last_key = heap_key[heap_size]
            last_node = heap_node[heap_size]
            hole = 0
            child = 1
            while child < heap_size:
                if child + 1 < heap_size and heap_key[child + 1] < heap_key[child]:
                    child += 1
                if heap_key[child] >= last_key:
                    break
                heap_key[hole] = heap_key[child]
                heap_node[hole] = heap_node[child]
                hole = child
                child = 2 * hole + 1
            heap_key[hole] = last_key
            heap_node[hole] = last_node
            if key == distance[node]:  # otherwise a shorter way to it was found since
                next_other = node
                break
        if next_other < 0:
            break
        settled[n_settled] = next_other
        n_settled += 1
        so_far = distance[next_other]
        own = other_partner[next_other]
        if so_far + alone - price[own] < best:
            best = so_far + alone - price[own]
            stays_alone = own
            ends_at = -1

    price[root] += best
    for index in range(n_settled):
        other = settled[index]
        slack = best - distance[other]
        if slack > 0:
            other_price[other] -= slack
            price[other_partner[other]] += slack

    if stays_alone >= 0:
        if stays_alone == root:
            partner[root] = _FREE
            return
        ends_at = partner[stays_alone]
        partner[stays_alone] = _FREE
    while True:
        own = came_from[ends_at]
        given_up = partner[own]
        partner[own] = ends_at
        other_partner[ends_at] = own
        if own == root:
            return
        ends_at = given_up


@njit(cache=True)
def _add_distances(graph, row_partner, scale, totals):
    for row in range(row_partner.size):
        for pair in range(graph.row_start[row], graph.row_start[row + 1]):
            if graph.row_neighbour[pair] == row_partner[row]:
                totals[graph.row_annotator[row]] += graph.row_cost[pair] // scale
