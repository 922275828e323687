"""Other engines on the same vectors and queries, each as quick as it is at recall@10 of 0.95.

They answer in this process, or through a socket to one on this machine, one query after another: without HTTP,
products, filters or access. What is not installed is left out::

    pip install --no-deps lancedb lance-namespace lance-namespace-urllib3-client deprecation overrides
    pip install pgserver "psycopg[binary]" pgvector      (PostgreSQL with pgvector)
    pip install qdrant-edge-py                           (Qdrant's engine without its server)
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.own_vectors import DIM, K, Rows, recall

RECALL = 0.95
_ROUNDS = 3
"""The best counts: others had the machine in the rest."""
Ask = Callable[[Rows], list[str]]
Figures = dict[str, float | int | None]


def engines(vectors: Rows, queries: Rows, truth: Any, folder: Path) -> dict[str, Figures]:
    """What each that is installed does; ``per_s`` queries a second, at ``recall@10``, with so much ``effort``."""
    found: dict[str, Figures] = {}
    for name, engine in (("LanceDB", _lance), ("pgvector", _pgvector), ("Qdrant Edge", _qdrant)):
        print(f"{name} takes the vectors in", flush=True)
        try:
            found[name] = engine(vectors, queries, truth, folder)
        except ModuleNotFoundError as error:
            print(f"{name} is left out: {error.name} is not installed", flush=True)
    return found


def _cheapest(efforts: Sequence[int], asking: Callable[[int], Ask], queries: Rows, truth: Any) -> Figures:
    """With the least effort that finds enough, or the greatest there is."""
    for effort in efforts:
        ask, per_s = asking(effort), 0.0
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            found = [ask(query) for query in queries]
            per_s = max(per_s, len(queries) / (time.perf_counter() - began))
        reached = recall(found, truth)
        if reached >= RECALL:
            break
    return {"per_s": round(per_s, 1), "recall@10": reached, "effort": effort}


def _lance(vectors: Rows, queries: Rows, truth: Any, folder: Path) -> Figures:
    """IVF_PQ, the best hundred compared by full vectors; effort: lists probed of 256."""
    import lancedb

    rows = [{"id": f"v{number}", "vector": vector} for number, vector in enumerate(vectors)]
    table = lancedb.connect(folder / "lance").create_table("vectors", rows)
    table.create_index(metric="dot", num_partitions=256, num_sub_vectors=96)

    def asking(probed: int) -> Ask:
        def ask(query: Rows) -> list[str]:
            asked = table.search(query).distance_type("dot").nprobes(probed).refine_factor(10).limit(K)
            return [row["id"] for row in asked.select(["id", "_distance"]).to_list()]

        return ask

    return _cheapest((8, 16, 32, 64, 128, 256), asking, queries, truth)


def _pgvector(vectors: Rows, queries: Rows, truth: Any, folder: Path) -> Figures:
    """HNSW with its usual 16 links, over a Unix socket, the statement prepared; effort: ``hnsw.ef_search``."""
    import pgserver
    import psycopg
    from pgvector.psycopg import register_vector

    folder.chmod(0o755)  # PostgreSQL runs as a user of its own where we are root
    server = pgserver.get_server(folder / "pgvector")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            register_vector(connection)
            connection.execute(f"CREATE TABLE vectors (id int, vector vector({DIM}))")
            with connection.cursor().copy("COPY vectors FROM STDIN WITH (FORMAT BINARY)") as copy:
                copy.set_types(["int4", "vector"])
                for number, vector in enumerate(vectors):
                    copy.write_row((number, vector))
            connection.execute("SET maintenance_work_mem = '1GB'")
            connection.execute("CREATE INDEX ON vectors USING hnsw (vector vector_ip_ops)")
            sql = f"SELECT id FROM vectors ORDER BY vector <#> %s LIMIT {K}"

            def ask(query: Rows) -> list[str]:
                rows = connection.execute(sql, (query,), prepare=True, binary=True).fetchall()
                return [f"v{row}" for (row,) in rows]

            def asking(ef: int) -> Ask:
                connection.execute(f"SET hnsw.ef_search = {ef}")
                return ask

            return _cheapest((10, 20, 40, 80, 160, 320), asking, queries, truth)
    finally:
        server.cleanup()


def _qdrant(vectors: Rows, queries: Rows, truth: Any, folder: Path) -> Figures:
    """HNSW with 16 links over 8-bit codes, compared by full vectors; effort: ``hnsw_ef``."""
    import qdrant_edge as edge

    path = folder / "qdrant"
    path.mkdir()
    int8 = edge.ScalarQuantizationConfig(type=edge.ScalarType.Int8, quantile=0.99, always_ram=True)
    config = edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(size=DIM, distance=edge.Distance.Dot),
        hnsw_config=edge.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=10_000),
        quantization_config=int8,
        max_search_threads=1,
    )
    shard = edge.EdgeShard.create(str(path), config)
    for numbers in np.array_split(np.arange(len(vectors)), max(1, len(vectors) // 1_000)):
        points = [edge.Point(number, vectors[number].tolist()) for number in numbers.tolist()]
        shard.update(edge.UpdateOperation.upsert_points(points))
    shard.optimize()

    def asking(ef: int) -> Ask:
        how = edge.SearchParams(hnsw_ef=ef, quantization=edge.QuantizationSearchParams(rescore=True))

        def ask(query: Rows) -> list[str]:
            asked = edge.QueryRequest(limit=K, query=edge.Query.Nearest(query.tolist()), params=how)
            return [f"v{point.id}" for point in shard.query(asked)]

        return ask

    try:
        return _cheapest((10, 16, 32, 64, 128, 256), asking, queries, truth)
    finally:
        shard.close()
