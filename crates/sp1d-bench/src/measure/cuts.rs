//! Cuts as arguments.

use clap::builder::{RangedU64ValueParser, TypedValueParser};
use std::ops::RangeInclusive;

/// The smallest and the largest cut that a worker accepts.
const CUTS: RangeInclusive<u64> = (1 << 25) - (1 << 22)..=(1 << 28) + (1 << 27);

/// Returns the parser of a cut.
pub(crate) fn cuts() -> impl TypedValueParser<Value = u64> {
    RangedU64ValueParser::<u64>::new().range(CUTS)
}
