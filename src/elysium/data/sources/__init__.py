"""Where videos and pictures come from, one public data set a file. What enters: its official files. What leaves:
webdataset shards (`sharding`); `real_clips` is the recipe of the clips in `data/real/`.
"""

from elysium.data.sources import (
    cocovqa,
    cogvlm_sft_311k,
    elysiumtrack_1m,
    flickr30k_entities,
    gqa,
    grit_20m,
    llava_558k,
    refcoco,
    videochat,
    visual7w,
    visual_genome,
)
from elysium.data.sources.reading import Source

# Section 4.2 of the paper, in its order.
SOURCES: dict[str, Source] = {
    "llava_558k": llava_558k.SOURCE,
    "grit_20m": grit_20m.SOURCE,
    "cogvlm_sft_311k": cogvlm_sft_311k.SOURCE,
    "cocovqa": cocovqa.SOURCE,
    "gqa": gqa.SOURCE,
    "visual7w": visual7w.SOURCE,
    "flickr30k_entities": flickr30k_entities.SOURCE,
    "visual_genome": visual_genome.SOURCE,
    **refcoco.SOURCES,
    "videochat": videochat.SOURCE,
    "elysiumtrack_1m": elysiumtrack_1m.SOURCE,
}
