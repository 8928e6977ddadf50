"""Which index finds the keyframes of a large map: recall, time, memory, disk, and what a change costs.

    python bench/described_city.py --images A B C --out real.npz
    python bench/retrieval.py table --real real.npz --sequences A B --views Q:A --work /tmp/r --sizes 10000 100000

`table` generates cities with the statistics of real images (bench/described_city.py says how), builds every index of
them, and opens and asks each in a process of its own. Two lists are asked for, as `search_in_turn`
does: by whole descriptors, and by the head's numbers alone; each by itself and, where the index can, both together.
Times are of one thread: those of the clock, and of the processor alone. Needs faiss-cpu and usearch; asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from described_city import draw_queries, measure_statistics, write_city

from hfnet_ros.map.keyframe_codes import KeyframeCodes, changed_codes, make_codes
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_words import assign_words, spherical_k_means
from hfnet_ros.retrieval.descriptor_index import StoredIndex, best_hits, search_rows

HEAD = 1024
NUM_QUERIES = 200
BLOCK = 16384
CHANGED = 1000


def blocks(codes: np.ndarray) -> Any:
    for start in range(0, len(codes), BLOCK):
        yield start, UnitVectors(codes[start : start + BLOCK]).decoded()


class Grown:
    """Stands for descriptors of two arrays."""

    def __init__(self, codes: np.ndarray, added: np.ndarray) -> None:
        self._codes, self._added = codes, added

    def __len__(self) -> int:
        return len(self._codes) + len(self._added)

    def chosen(self, rows: np.ndarray) -> UnitVectors:
        of_first = rows < len(self._codes)
        return UnitVectors(
            np.concatenate([self._codes[rows[of_first]], self._added[rows[~of_first] - len(self._codes)]])
        )


class Exact:
    """Everything, where it lies."""

    def build(self, codes: np.ndarray, folder: Path) -> None:
        pass

    def open(self, codes: np.ndarray, folder: Path) -> None:  # noqa: ARG002
        self._index = StoredIndex(UnitVectors(codes))

    def search(self, descriptor: np.ndarray, count: int) -> list[int]:
        return [hit.keyframe_idx for hit in self._index.search(descriptor, count)]


class Codes(Exact):
    """What maps have: two bits a number of everything, the best compared."""

    num_threads = 1

    def build(self, codes: np.ndarray, folder: Path) -> None:
        for name, array in make_codes(UnitVectors(codes)).arrays().items():
            np.save(folder / f"{name}.npy", array)

    def open(self, codes: np.ndarray, folder: Path) -> None:
        from hfnet_ros.config import RetrievalConfig
        from hfnet_ros.retrieval.code_index import CodeIndex

        self._codes = KeyframeCodes.of_arrays(
            {path.stem: np.asarray(np.load(path, mmap_mode="r")) for path in folder.glob("*.npy")}
        )
        self._index = CodeIndex(
            UnitVectors(codes), self._codes, RetrievalConfig().compared_per_root, self.num_threads
        )

    def search_both(self, whole: np.ndarray, head: np.ndarray, count: int) -> list[list[int]]:
        lists = self._index.search_lists(np.stack([whole, head]), count)
        return [[hit.keyframe_idx for hit in hits] for hits in lists]

    def change(self, codes: np.ndarray, added: np.ndarray) -> dict[str, float]:
        rows = np.arange(len(codes))
        started = time.perf_counter()
        changed_codes(self._codes, Grown(codes, added), np.concatenate([rows, np.full(len(added), -1)]))
        added_s = time.perf_counter() - started
        started = time.perf_counter()
        changed_codes(self._codes, UnitVectors(codes[CHANGED:]), rows[CHANGED:])
        return {"add_s": added_s, "remove_s": time.perf_counter() - started}


class CodesOnTwoThreads(Codes):
    """The same, as the localizer does with two threads."""

    num_threads = 2


class Cells(Exact):
    """The inverted file that maps had: twice the root of F cells of whole descriptors."""

    def __init__(self, num_cells: str) -> None:
        self._num_cells = int(num_cells)

    def build(self, codes: np.ndarray, folder: Path) -> None:
        rng, count = np.random.default_rng(0), len(codes)
        num_cells = round(2.0 * np.sqrt(count))
        sample = np.sort(rng.choice(count, min(count, 64 * num_cells), replace=False))
        centers = UnitVectors.encode(spherical_k_means(UnitVectors(codes[sample]).decoded(), num_cells, rng))
        cell = np.concatenate([assign_words(block, centers.decoded()) for _, block in blocks(codes)])
        members = np.argsort(cell, kind="stable")
        offsets = np.searchsorted(cell[members], np.arange(num_cells + 1))
        for name, array in (
            ("centers", centers.codes),
            ("members", members.astype(np.int32)),
            ("offsets", offsets),
        ):
            np.save(folder / f"{name}.npy", array)
        np.save(folder / "descriptors.npy", codes[members])

    def open(self, codes: np.ndarray, folder: Path) -> None:  # noqa: ARG002
        self._centers, self._members, self._offsets, stored = (
            np.load(folder / f"{name}.npy", mmap_mode="r")
            for name in ("centers", "members", "offsets", "descriptors")
        )
        self._centers, self._stored = (
            UnitVectors(np.asarray(self._centers)).decoded(),
            UnitVectors(np.asarray(stored)),
        )

    def search(self, descriptor: np.ndarray, count: int) -> list[int]:
        cells = np.argsort(-(self._centers @ descriptor))[: self._num_cells]
        parts = [slice(*self._offsets[cell : cell + 2]) for cell in cells]
        rows = np.concatenate([self._members[part] for part in parts])
        similarity = np.concatenate([self._stored.products(part, descriptor[None])[0] for part in parts])
        return [hit.keyframe_idx for hit in best_hits(rows, similarity, count)]


class Faiss(Exact):
    """An index of faiss by the name its factory knows; what it finds is compared exactly."""

    def __init__(self, factory: str, share: str = "0") -> None:
        self._factory, self._share = factory, float(share)

    def build(self, codes: np.ndarray, folder: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(2)
        factory = self._factory.replace("IVF,", f"IVF{round(2.0 * np.sqrt(len(codes)))},")
        index = faiss.index_factory(codes.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        rng = np.random.default_rng(0)
        rows = np.sort(rng.choice(len(codes), min(len(codes), 40000), replace=False))
        sample = UnitVectors(codes[rows]).decoded()
        index.train(sample)
        for _, block in blocks(codes):
            index.add(block)
        faiss.write_index(index, str(folder / "index.faiss"))

    def open(self, codes: np.ndarray, folder: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self._index = faiss.read_index(str(folder / "index.faiss"))
        self._descriptors = UnitVectors(codes)
        self._num_compared = max(round(np.sqrt(len(codes))), 100)
        if "IVF" in self._factory:
            inner = faiss.extract_index_ivf(self._index)
            inner.nprobe = max(1, round(self._share * inner.nlist))
        if "HNSW" in self._factory:
            faiss.downcast_index(self._index).hnsw.efSearch = 2 * self._num_compared

    def search(self, descriptor: np.ndarray, count: int) -> list[int]:
        _, rows = self._index.search(descriptor[None], self._num_compared)
        rows = np.sort(rows[0][rows[0] >= 0])
        return [hit.keyframe_idx for hit in search_rows(self._descriptors, rows, descriptor[None], count)[0]]

    def change(self, codes: np.ndarray, added: np.ndarray) -> dict[str, float]:  # noqa: ARG002
        found: dict[str, float] = {}
        block = UnitVectors(added).decoded()
        for name, change in (
            ("add_s", lambda: self._index.add(block)),
            ("remove_s", lambda: self._index.remove_ids(np.arange(CHANGED))),
        ):
            started = time.perf_counter()
            try:
                change()
                found[name] = time.perf_counter() - started
            except RuntimeError:
                found[name] = float("nan")
        return found


class Usearch(Exact):
    """usearch's graph over int8, mapped from its file."""

    def build(self, codes: np.ndarray, folder: Path) -> None:
        from usearch.index import Index

        index = Index(ndim=codes.shape[1], metric="ip", dtype="i8", connectivity=32, expansion_add=128)
        for start, block in blocks(codes):
            index.add(np.arange(start, start + len(block)), block, threads=2)
        index.save(str(folder / "index.usearch"))

    def open(self, codes: np.ndarray, folder: Path) -> None:
        from usearch.index import Index

        self._index = Index(ndim=codes.shape[1], metric="ip", dtype="i8", connectivity=32)
        self._index.view(str(folder / "index.usearch"))
        self._descriptors = UnitVectors(codes)
        self._num_compared = max(round(np.sqrt(len(codes))), 100)
        self._index.expansion_search = 2 * self._num_compared

    def search(self, descriptor: np.ndarray, count: int) -> list[int]:
        rows = np.sort(self._index.search(descriptor, self._num_compared, threads=1).keys.astype(np.int64))
        return [hit.keyframe_idx for hit in search_rows(self._descriptors, rows, descriptor[None], count)[0]]


ROWS = {
    "exact": Exact,
    "codes": Codes,
    "codes-2": CodesOnTwoThreads,
    "cells": Cells,
    "faiss": Faiss,
    "usearch": Usearch,
}
DEFAULT_ROWS = (
    "exact",
    "codes",
    "cells:16",
    "cells:64",
    "faiss:IVF,PQ256x4fs:0.1",
    "faiss:IVF,PQ256x4fs:0.4",
    "faiss:IVF,PQ128x8:0.4",
    "faiss:IVF,SQ8:0.4",
    "faiss:HNSW32,SQ8",
    "usearch",
)


def row_of(name: str) -> Any:
    kind, *arguments = name.split(":")
    return ROWS[kind](*arguments)


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1e3


def exact_hits(codes: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    """Return the `count` nearest rows of each query, [Q, count]."""
    rows, values = np.empty((0, len(queries)), np.int64), np.empty((0, len(queries)), np.float32)
    for start, block in blocks(codes):
        similarity = block @ queries.T
        best = np.argpartition(-similarity, min(count, len(block) - 1), axis=0)[:count]
        rows = np.concatenate([rows, best + start])
        values = np.concatenate([values, np.take_along_axis(similarity, best, 0)])
        order = np.argsort(-values, axis=0, kind="stable")[:count]
        rows, values = np.take_along_axis(rows, order, 0), np.take_along_axis(values, order, 0)
    return rows.T


def opened(file: Path) -> np.ndarray:
    """Open an array as maps do."""
    from hfnet_ros.map.array_files import open_array

    array = np.load(file, mmap_mode="r")
    entry = {"dtype": array.dtype.str, "shape": list(array.shape), "bytes": file.stat().st_size, "sha256": ""}
    return open_array(file.parent, file.stem, entry, digest=False, subfolder=".")


def ask(row: str, folder: Path) -> dict[str, Any]:
    """Open an index in this process and ask it; pages that were read are let go as a localizer does."""
    from hfnet_ros.map.array_files import release_pages

    asked = dict(np.load(folder / "queries.npz"))
    codes = opened(folder / "city.npy")
    index = row_of(row)
    before = resident_mb()
    started = time.perf_counter()
    index.open(codes, folder / row.replace(":", "_").replace(",", "_"))
    found: dict[str, Any] = {
        "open_s": time.perf_counter() - started,
        "opened_mb": resident_mb(),
        "before_mb": before,
    }
    exact = [asked[f"exact_{name}"] for name in ("whole", "head")]
    ways = {
        "whole": (lambda row: [index.search(asked["whole"][row], 10)], exact[:1]),
        "head": (lambda row: [index.search(asked["head"][row], 10)], exact[1:]),
    }
    if hasattr(index, "search_both"):
        ways["both"] = (lambda row: index.search_both(asked["whole"][row], asked["head"][row], 10), exact)
    for name, (search, expected) in ways.items():
        clock, cpu, ten = [], [], []
        for number in range(len(asked["whole"])):
            started, used = time.perf_counter(), time.process_time()
            lists = search(number)
            clock.append(1e3 * (time.perf_counter() - started))
            cpu.append(1e3 * (time.process_time() - used))
            pairs = zip(lists, expected, strict=True)
            ten.append([len(set(rows) & set(best[number][:10].tolist())) / 10 for rows, best in pairs])
            if number % 8 == 7:
                release_pages(codes)
        found[f"{name}_recall_10"] = "/".join(f"{share:.4f}" for share in np.mean(ten, axis=0))
        found |= {f"{name}_p50_ms": float(np.median(clock)), f"{name}_cpu_ms": float(np.median(cpu))}
        found[f"{name}_p99_ms"] = float(np.percentile(clock, 99))
    found["asked_mb"] = resident_mb()
    if hasattr(index, "change"):
        found |= index.change(codes, np.load(folder / "added.npy"))
    return found


def table(options: argparse.Namespace) -> None:
    real = np.load(options.real)
    descriptors, scenes = real["descriptors"].astype(np.float32), real["scenes"]
    if options.scenes:
        kept = np.array([scene.startswith(tuple(options.scenes)) for scene in scenes])
        descriptors, scenes = descriptors[kept], scenes[kept]
    views = [tuple(pair.split(":")) for pair in options.views]
    statistics = measure_statistics(descriptors, scenes, options.sequences, views)
    columns = "open_s before_mb opened_mb asked_mb "
    for name in ("whole", "head", "both"):
        columns += f"{name}_recall_10 {name}_p50_ms {name}_p99_ms {name}_cpu_ms "
    columns += "disk_mb build_s add_s remove_s"
    print(f"{'keyframes':>9s} {'index':28s} " + " ".join(columns.split()))
    for size in options.sizes:
        folder = options.work / str(size)
        folder.mkdir(parents=True, exist_ok=True)
        codes = write_city(statistics, size, options.seed, folder / "city.npy")
        write_city(statistics, CHANGED, options.seed + 1, folder / "added.npy")
        whole, _ = draw_queries(statistics, codes, NUM_QUERIES, options.seed + 2)
        head = whole.copy()
        head[:, HEAD:] = 0.0
        found = {
            f"exact_{name}": exact_hits(codes, asked, 10)
            for name, asked in (("whole", whole), ("head", head))
        }
        np.savez(folder / "queries.npz", whole=whole, head=head, **found)
        for row in options.rows:
            place = folder / row.replace(":", "_").replace(",", "_")
            place.mkdir(exist_ok=True)
            started = time.perf_counter()
            row_of(row).build(codes, place)
            built = {"build_s": time.perf_counter() - started}
            built["disk_mb"] = sum(file.stat().st_size for file in place.iterdir()) / 1e6
            command = [sys.executable, __file__, "ask", "--row", row, "--work", str(folder)]
            ran = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            measured = built | json.loads(ran)
            values = (measured.get(column, float("nan")) for column in columns.split())
            cells = " ".join(value if isinstance(value, str) else f"{value:.4g}" for value in values)
            print(f"{size:9d} {row:28s} {cells}", flush=True)
            subprocess.run(["rm", "-r", str(place)], check=True)
        subprocess.run(["rm", "-r", str(folder)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    two = commands.add_parser("table")
    two.add_argument("--real", type=Path, required=True)
    two.add_argument("--sequences", nargs="+", required=True, help="folders whose images follow each other")
    two.add_argument(
        "--views", nargs="+", required=True, help="QUERIES:KEYFRAMES, folders that show the same"
    )
    two.add_argument("--scenes", nargs="+", help="beginnings of the folders that are taken; all without")
    two.add_argument("--sizes", type=int, nargs="+", default=(10_000, 100_000))
    two.add_argument("--rows", nargs="+", default=DEFAULT_ROWS)
    two.add_argument("--seed", type=int, default=1)
    two.add_argument("--work", type=Path, required=True)
    three = commands.add_parser("ask")
    three.add_argument("--row", required=True)
    three.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    if options.command == "ask":
        print(json.dumps(ask(options.row, options.work)))
    else:
        table(options)


if __name__ == "__main__":
    main()
