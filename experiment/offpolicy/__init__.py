"""Off-policy evaluation: what production's explored log says of a ranker that has not served."""
