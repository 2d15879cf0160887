//! Describes the machine and the versions of SP1 and of this software.

use sp1d_figures::MachineFacts;

pub(crate) fn this_machine() -> MachineFacts {
    let build = sp1d_engine::build_identity();
    MachineFacts::this(Some(build.sp1_version), build.release)
}
