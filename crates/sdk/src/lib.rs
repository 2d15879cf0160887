//! Prove SP1 programs on many machines
