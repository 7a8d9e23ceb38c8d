"""Reading and writing videos: what goes in comes out, in display orientation, and bad files are named."""

import wave
from fractions import Fraction

import av
import numpy as np
import pytest

from elysium.data.video import UnreadableVideo, iter_frames, probe, read_frames, write_video
from elysium.errors import UserError


def _frames(n, width=64, height=48):
    """A dark picture with a bright square that moves right, and a green upper left corner."""
    out = np.full((n, height, width, 3), 30, dtype=np.uint8)
    for i in range(n):
        out[i, 20:30, 2 * i : 2 * i + 10] = 220
        out[i, :10, :10] = (0, 200, 0)
    return list(out)


def test_frames_survive_the_round_trip(tmp_path):
    frames = _frames(12)
    write_video(tmp_path / "a.mp4", frames, 10)
    back, times = read_frames(tmp_path / "a.mp4")
    assert len(back) == 12
    assert times == pytest.approx([i / 10 for i in range(12)])
    assert np.abs(np.array(back).astype(int) - np.array(frames)).mean() < 6
    info = probe(tmp_path / "a.mp4")
    assert (info.width, info.height, info.fps, info.n_frames) == (64, 48, 10.0, 12)
    assert info.duration == pytest.approx(1.2)


def test_the_same_frames_give_the_same_bytes(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, _frames(8), 12.5)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_stride_limit_and_size(tmp_path):
    write_video(tmp_path / "a.mp4", _frames(12), 10)
    frames, times = read_frames(tmp_path / "a.mp4", stride=3, limit=3, longest_side=32)
    assert times == pytest.approx([0, 0.3, 0.6])
    assert [f.shape for f in frames] == [(24, 32, 3)] * 3


def test_a_rotated_video_is_read_in_display_orientation(tmp_path):
    write_video(tmp_path / "flat.mp4", _frames(4), 10)
    with av.open(str(tmp_path / "flat.mp4")) as source, av.open(str(tmp_path / "turned.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = (tmp_path / "turned.mp4").read_bytes()
    # The matrix of the track header: from the identity to a quarter turn (what a phone held upright writes).
    one, minus = (1 << 16).to_bytes(4, "big"), ((1 << 32) - (1 << 16)).to_bytes(4, "big")
    zero, last = bytes(4), (1 << 30).to_bytes(4, "big")
    identity = one + zero * 3 + one + zero * 3 + last
    turned = zero + one + zero + minus + zero * 4 + last
    at = data.index(identity, data.index(b"tkhd"))
    (tmp_path / "turned.mp4").write_bytes(data[:at] + turned + data[at + len(identity) :])
    frames, _ = read_frames(tmp_path / "turned.mp4")
    info = probe(tmp_path / "turned.mp4")
    assert frames[0].shape == (64, 48, 3)
    assert (info.width, info.height) == (48, 64)
    # Clockwise by 90 degrees: the green corner moves from the upper left to the upper right.
    assert frames[0][4, -5].argmax() == 1 and frames[0][4, -5][1] > 120
    assert frames[0][4, 4].max() < 80


def test_variable_frame_rate_keeps_its_times(tmp_path):
    stamps = [0, 1, 2, 10, 11, 30]
    with av.open(str(tmp_path / "vfr.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for image, stamp in zip(_frames(6), stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert read_frames(tmp_path / "vfr.mp4")[1] == pytest.approx([s / 10 for s in stamps])


def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    with wave.open(str(tmp_path / "audio.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(8000))
    write_video(tmp_path / "whole.mp4", _frames(20), 10)
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 3])
    for name in ("empty.mp4", "noise.mp4", "audio.wav", "half.mp4", "missing.mp4"):
        with pytest.raises(UnreadableVideo, match=name) as caught:
            list(iter_frames(tmp_path / name))
        assert isinstance(caught.value, UserError)
        with pytest.raises(UnreadableVideo, match=name):
            probe(tmp_path / name)


def test_bad_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="stride"):
        list(iter_frames(tmp_path / "a.mp4", stride=0))
    with pytest.raises(ValueError, match="one frame"):
        write_video(tmp_path / "a.mp4", [], 10)
