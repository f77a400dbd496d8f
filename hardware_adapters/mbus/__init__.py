"""M-Bus (EN 13757) over TCP: the records that heat meters tell, behind a level converter."""
