"""Latency and throughput of `kindred serve` beside a bare torch loop on the same images, in pairs.

python -m tests.benchmarks.serve [REQUESTS] [CLIENTS] [mlp|small_cnn|resnet_small]

The bare loop decodes one image, computes and reads the answer, in one process, without HTTP: nothing could be faster
one by one. Serve has a process for the gateway and one for the replica; its clients send one image a request over kept
connections, and requests that arrive together are one batch.
"""

import http.client
import io
import socket
import statistics
import sys
import threading
import time
from urllib.parse import urlsplit

import numpy as np
import torch
from PIL import Image

from pipelines.base.ray_session import ray_session
from pipelines.ingest.decode import decode_input
from pipelines.use.answers import Asked, answer
from pipelines.use.model import Model
from pipelines.use.serve import ServeSettings, serving
from tests.benchmarks.predict_speed import model_files

ROUNDS, TOKEN = 5, "benchmark"


def images(n):
    """Return encoded images of 64 x 64."""
    draw = np.random.Generator(np.random.PCG64(0))
    encoded = []
    for _ in range(n):
        sink = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(sink, format="JPEG")
        encoded.append(sink.getvalue())
    return encoded


def bare(model, encoded):
    """Return the seconds that each image takes in one process."""
    times = []
    for content in encoded:
        begun = time.perf_counter()
        inputs = torch.from_numpy(decode_input(content, model.input)[0][None])
        answer(model.members, inputs, Asked(full=True)).to_pylist()
        times.append(time.perf_counter() - begun)
    return times


def served(url, encoded, clients):
    """Return the seconds that each request takes, and those of all together, with so many clients at once."""
    place, times = urlsplit(url), []

    def work(part):
        connection = http.client.HTTPConnection(place.hostname, place.port)
        for content in part:
            begun = time.perf_counter()
            connection.request(
                "POST", "/predict", content, {"content-type": "image/jpeg", "authorization": f"Bearer {TOKEN}"}
            )
            reply = connection.getresponse()
            reply.read()
            assert reply.status == 200
            times.append(time.perf_counter() - begun)
        connection.close()

    threads = [threading.Thread(target=work, args=(encoded[i::clients],)) for i in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, time.perf_counter() - begun


def milliseconds(times):
    """Return median and 95th percentile, as text."""
    return f"{1e3 * statistics.median(times):.1f} ms, 95 % within {1e3 * float(np.quantile(times, 0.95)):.1f} ms"


def main(requests, clients, backbone):
    """Compare in pairs; print medians over the rounds."""
    torch.set_num_threads(1)
    files, _ = model_files(backbone)
    model, encoded = Model([files]), images(requests)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    loops, ones, manys, rates, ratios = [], [], [], [], []
    with ray_session(), serving([files], ServeSettings(token=TOKEN), "127.0.0.1", port) as url:
        served(url, encoded[:20], clients)
        bare(model, encoded[:20])
        for _ in range(ROUNDS):
            loop = bare(model, encoded)
            one, _ = served(url, encoded, 1)
            many, seconds = served(url, encoded, clients)
            loops, ones, manys = loops + loop, ones + one, manys + many
            rates.append(requests / seconds)
            ratios.append(requests / seconds * sum(loop) / requests)
    print(f"{backbone}, {requests} images a round, {ROUNDS} rounds in pairs")
    print(f"bare torch loop, one process: {milliseconds(loops)}; {1 / statistics.mean(loops):,.0f} images/s")
    print(f"serve, one client: {milliseconds(ones)}")
    print(f"serve, {clients} clients: {milliseconds(manys)}; {statistics.median(rates):,.0f} images/s")
    print(f"throughput of serve / bare loop: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given else 300, int(given[1]) if given[1:] else 8, given[2] if given[2:] else "small_cnn")
