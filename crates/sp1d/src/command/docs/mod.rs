//! Documentation that is generated from the code.

pub(super) mod manual;
pub(super) mod reference;
