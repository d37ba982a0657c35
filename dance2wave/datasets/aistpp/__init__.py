"""AIST++: dances of ten genres with poses, motions and known tempi."""
