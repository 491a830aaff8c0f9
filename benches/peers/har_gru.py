"""Reference accuracies on the smartwatch windows: a GRU or LSTM in PyTorch, by subject and at random.

Windows of 40 samples without overlap, one sample an accelerometer line with the gyroscope line nearest in
time, six channels normalised on the training windows. One JSON object a line, suite `har`.
"""

import argparse
import gzip
import json
import time

import numpy as np
import torch
from torch import nn

from braille import data_folder

CODES = "POFQRGS"
WINDOW = 40
FOLDS = 5


def read(path):
    """Lines `subject,code,timestamp,x,y,z;` as {code: (timestamps, values)}, each in order of time."""
    lines = {}
    with gzip.open(path, "rt") as text:
        for line in text:
            fields = line.strip().rstrip(";").split(",")
            if len(fields) == 6:
                lines.setdefault(fields[1], []).append((int(fields[2]), *map(float, fields[3:])))
    recordings = {}
    for code, rows in lines.items():
        rows.sort(key=lambda row: row[0])
        stamps = np.array([row[0] for row in rows], dtype=np.int64)
        recordings[code] = stamps, np.array([row[1:] for row in rows], dtype=np.float32)
    return recordings


def windows(folder):
    """Returns windows `[n, 40, 6]`, class and subject of each."""
    x, y, subject = [], [], []
    for path in sorted((folder / "raw" / "watch" / "accel").glob("*.gz")):
        accel = read(path)
        gyro = read(folder / "raw" / "watch" / "gyro" / path.name.replace("accel", "gyro"))
        for label, code in enumerate(CODES):
            if code not in accel or code not in gyro:
                continue
            (at, a), (gt, g) = accel[code], gyro[code]
            after = np.searchsorted(gt, at).clip(1, len(gt) - 1)
            nearest = np.where(at - gt[after - 1] <= gt[after] - at, after - 1, after)
            count = len(a) // WINDOW
            samples = np.concatenate([a, g[nearest]], axis=1)[: count * WINDOW]
            x.append(samples.reshape(count, WINDOW, 6))
            y += [label] * count
            subject += [int(path.name.split("_")[1])] * count
    return torch.from_numpy(np.concatenate(x)), torch.tensor(y), np.array(subject)


def held_out(split, fold, subject):
    if split == "random":
        return np.random.default_rng(0).integers(FOLDS, size=len(subject)) == fold
    shuffled = np.random.default_rng(0).permutation(np.unique(subject))
    return np.isin(subject, shuffled[fold::FOLDS])


def accuracy(x, y, test, arguments):
    """Trains on what is not held out and returns the accuracy on what is, after the last epoch."""
    torch.manual_seed(arguments.seed)
    training, test = torch.from_numpy(np.flatnonzero(~test)), torch.from_numpy(np.flatnonzero(test))
    mean, deviation = x[training].mean((0, 1)), x[training].std((0, 1))
    x = (x - mean) / deviation
    rnn = getattr(nn, arguments.cell)(6, arguments.hidden, batch_first=True)
    readout = nn.Linear(arguments.hidden, len(CODES))
    parameters = [*rnn.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters)
    steps = arguments.epochs * -(-len(training) // arguments.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, arguments.lr, total_steps=steps)
    for _ in range(arguments.epochs):
        for batch in training[torch.randperm(len(training))].split(arguments.batch):
            loss = nn.functional.cross_entropy(readout(rnn(x[batch])[0].mean(1)), y[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        right = readout(rnn(x[test])[0].mean(1)).argmax(1) == y[test]
    return 100 * right.float().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", choices=("GRU", "LSTM"), default="GRU")
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--split", choices=("subject", "random"), default="subject")
    parser.add_argument("--folds", type=int, nargs="+", choices=range(FOLDS), default=range(FOLDS))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=3e-3, help="highest rate of the one-cycle schedule")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", help="folder that holds wisdm-watch/")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    x, y, subject = windows(data_folder(arguments.data, "wisdm-watch/raw") / "wisdm-watch")
    case = f"{arguments.cell.lower()}{arguments.hidden}/{arguments.split}"
    scores = []
    for fold in arguments.folds:
        start = time.process_time()
        scores.append(accuracy(x, y, held_out(arguments.split, fold, subject), arguments))
        for metric, value, unit in (("accuracy", scores[-1], "%"), ("cpu_time", time.process_time() - start, "s")):
            entry = {"suite": "har", "case": f"{case}/{fold}", "metric": metric, "value": value, "unit": unit}
            print(json.dumps(entry), flush=True)
    mean = float(np.mean(scores))
    print(json.dumps({"suite": "har", "case": case, "metric": "accuracy", "value": mean, "unit": "%"}))


if __name__ == "__main__":
    main()
