"""A furnace that tests share; those that need more of it replace what they need."""

from uem.twin_core.plant.furnace import Furnace, Segment

# Electric, without doors, carrier or exhaust.
PLAIN = Furnace(
    recipe=(Segment(to_k=1173.0, duration_s=7200.0), Segment(to_k=1173.0, duration_s=3600.0, hold=True)),
    power_w=400e3,
    chamber_j_per_k=4e5,
    lining_j_per_k=8e6,
    lining_w_per_k=300.0,
    wall_w_per_k=60.0,
    part_j_per_k=25e3,
    part_w_per_k=15.0,
)
