#!/usr/bin/env python3
"""Makes of a clip what a camera that turns would see: a window that moves over the pictures, to and fro.

benches/turning.py CLIP OUT.mp4 [PIXELS A FRAME, default 3]; needs opencv-python-headless.
"""

import sys

import cv2

SHARE, SIZE, FRAMES = 0.7, (640, 384), 200


def main(source, target, step=3.0):
    clip = cv2.VideoCapture(source)
    width, height = (int(clip.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    h = min(int(width * SHARE * SIZE[1] / SIZE[0]), height)
    w, top = h * SIZE[0] // SIZE[1], (height - h) // 2
    out = cv2.VideoWriter(target, cv2.VideoWriter_fourcc(*"mp4v"), 25, SIZE)
    left, step = 0.0, float(step)
    for _ in range(FRAMES):
        is_there, picture = clip.read()
        if not is_there:
            break
        window = picture[top : top + h, int(left) : int(left) + w]
        out.write(cv2.resize(window, SIZE, interpolation=cv2.INTER_AREA))
        if not 0 <= left + step <= width - w:
            step = -step
        left += step
    out.release()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
