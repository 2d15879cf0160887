//! Which fault an error of CUDA is.
//!
//! SP1's GPU provers keep the text of CUDA's error and drop its code. Most errors arise on threads of SP1 and arrive in
//! the message of a panic, so CUDA, which keeps the last error of each thread, cannot be asked for the code either. In
//! CUDA's runtime, each of the texts below belongs to one code, so a text stands for its code.

use super::fault::GpuFault;

/// SP1 writes this before the text of CUDA's error.
const MARKER: &str = "CudaRustError: ";

/// Makes the fault. The argument is the error, for people.
type MakeFault = fn(String) -> GpuFault;

const OLD_DRIVER: MakeFault = |_| GpuFault::DriverTooOld { found: None };
const NO_CODE: MakeFault = |_| GpuFault::UnsupportedCapability { capability: None };

/// The errors of CUDA that have a sentence of their own: the code, the text of `cudaGetErrorString` in CUDA 13.0, and
/// the fault. A GPU that fell off the bus has no error of its own: it can be any of the others.
static ERRORS: [(u32, &str, MakeFault); 21] = [
    (2, "out of memory", |_| GpuFault::OutOfMemory),
    (34, "CUDA driver is a stub library", |_| GpuFault::NoDriver),
    (35, "CUDA driver version is insufficient for CUDA runtime version", OLD_DRIVER),
    (36, "API call is not supported in the installed CUDA driver", OLD_DRIVER),
    (46, "CUDA-capable device(s) is/are busy or unavailable", |_| GpuFault::Busy),
    (98, "invalid device function", NO_CODE),
    (100, "no CUDA-capable device is detected", |_| GpuFault::NoDevice),
    (101, "invalid device ordinal", |_| GpuFault::NoDevice),
    (200, "device kernel image is invalid", NO_CODE),
    (209, "no kernel image is available for execution on the device", NO_CODE),
    (214, "uncorrectable ECC error encountered", GpuFault::Lost),
    (216, "exclusive-thread device already in use by a different thread", |_| GpuFault::Busy),
    (218, "a PTX JIT compilation failed", NO_CODE),
    (220, "uncorrectable NVLink error detected during the execution", GpuFault::Lost),
    (221, "PTX JIT compiler library not found", NO_CODE),
    (222, "the provided PTX was compiled with an unsupported toolchain", OLD_DRIVER),
    (223, "PTX JIT compilation was disabled", NO_CODE),
    (226, "Invalid access of peer GPU memory over nvlink or a hardware error", GpuFault::Lost),
    (802, "system not yet initialized", |_| GpuFault::NotInitialized),
    (803, "system has unsupported display driver / cuda driver combination", |_| GpuFault::DriverMismatch),
    (804, "forward compatibility was attempted on non supported HW", OLD_DRIVER),
];

/// How SP1 writes that CUDA reports too little memory, and that an allocation has failed for any reason.
const FAILED_ALLOCATIONS: [&str; 5] =
    ["out of GPU memory", "OutOfMemory", "AllocError", "allocation error", "allocation failed"];

/// How SP1 writes the other errors of CUDA.
const OTHER_ERRORS: [&str; 4] = ["CudaRustError", "CudaError", "CUDA error", "cuda error"];

impl GpuFault {
    /// Classifies an error of CUDA by the text that SP1 reports. `None` if the text names none.
    #[must_use]
    pub fn of_cuda(text: &str) -> Option<Self> {
        let known = |rest: &str| ERRORS.iter().find(|(_, known, _)| rest.starts_with(known));
        if let Some((code, known, make)) = text.split(MARKER).skip(1).find_map(known) {
            return Some(make(format!("{known} (error {code} of CUDA)")));
        }
        let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
        if has(&FAILED_ALLOCATIONS) {
            return Some(Self::OutOfMemory);
        }
        has(&OTHER_ERRORS).then(|| Self::Other(text.to_owned()))
    }

    /// Returns why an attempt on a GPU failed; `None` if the GPU is not the cause. `text` is the failure as SP1 reports
    /// it. `answer` is what the GPU reports when it is asked after the failure.
    ///
    /// After some errors, CUDA refuses every later call. Then an allocation fails too, and SP1's text says nothing
    /// else.
    #[must_use]
    pub fn of_failure(text: &str, answer: Result<(), Self>) -> Option<Self> {
        match (Self::of_cuda(text), answer) {
            (None | Some(Self::OutOfMemory), Err(fault)) => Some(fault),
            (told, _) => told,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forms in which SP1 reports an error of CUDA with this text.
    fn reports(text: &str) -> [String; 3] {
        [
            format!("other CUDA error: CudaRustError: {text}"),
            format!("called `Result::unwrap()` on an `Err` value: Other(CudaRustError: {text})"),
            format!("task 7 panicked with message \"cuda error: other CUDA error: CudaRustError: {text}\""),
        ]
    }

    /// CUDA's error with this text is the fault whose text starts with `expected`.
    #[track_caller]
    fn check(text: &str, expected: &str, is_temporary: bool) {
        for report in reports(text) {
            let fault = GpuFault::of_cuda(&report).unwrap_or_else(|| panic!("{report} is not classified"));
            assert!(fault.to_string().starts_with(expected), "{report}: {fault}");
            assert_eq!(fault.is_temporary(), is_temporary, "{report}: {fault}");
        }
    }

    #[test]
    fn errors_of_cuda_are_sentences() {
        check("out of memory", "the GPU ran out of memory\n", true);
        check("no CUDA-capable device is detected", "the NVIDIA driver finds no GPU\n", true);
        check("CUDA driver version is insufficient for CUDA runtime version", "the NVIDIA driver is too old", false);
        check("the provided PTX was compiled with an unsupported toolchain.", "the NVIDIA driver is too old", false);
        check("system has unsupported display driver / cuda driver combination", "the parts of the NVIDIA", false);
        check("no kernel image is available for execution on the device", "this build has no code for the GPU", false);
        check("PTX JIT compiler library not found", "this build has no code for the GPU's compute capability\n", false);
        check("CUDA-capable device(s) is/are busy or unavailable", "the GPU is busy or unavailable\n", true);
        check("system not yet initialized", "the GPUs of this machine are not initialized\n", true);
        check(
            "uncorrectable ECC error encountered",
            "the driver lost the GPU: uncorrectable ECC error encountered (error 214 of CUDA); `dmesg` has the Xid",
            true,
        );
    }

    #[test]
    fn an_error_without_a_sentence_of_its_own_keeps_the_text_of_cuda() {
        for text in ["unspecified launch failure", "an illegal memory access was encountered", "unknown error"] {
            check(text, "the GPU reported an error: ", true);
            let [report, ..] = reports(text);
            let fault = GpuFault::of_cuda(&report).unwrap().to_string();
            assert!(fault.contains(text) && fault.contains("`dmesg | grep Xid`"), "{fault}");
        }
    }

    #[test]
    fn each_error_of_the_table_is_found() {
        for (code, text, make) in ERRORS {
            let expected = make(format!("{text} (error {code} of CUDA)"));
            for report in reports(text) {
                assert_eq!(GpuFault::of_cuda(&report).as_ref(), Some(&expected), "{report}");
            }
        }
        assert!(ERRORS.is_sorted_by_key(|(code, ..)| *code), "the errors are in the order of their codes");
    }

    #[test]
    fn a_failed_allocation_is_too_little_memory_in_each_form() {
        for text in [
            "out of GPU memory",
            "called `Result::unwrap()` on an `Err` value: OutOfMemory",
            "called `Result::unwrap()` on an `Err` value: StreamCreationFailed(OutOfMemory)",
            "allocation error for layout Layout { size: 8, align: 4 }",
            "called `Result::unwrap()` on an `Err` value: AllocError { layout: Layout { size: 8 } }",
            "task 7 panicked with message \"allocation failed\"",
        ] {
            assert_eq!(GpuFault::of_cuda(text), Some(GpuFault::OutOfMemory), "{text}");
        }
    }

    #[test]
    fn other_errors_are_not_errors_of_a_gpu() {
        for text in ["", "cannot fetch record", "assertion failed: a == b", "unknown error", "invalid device function"]
        {
            assert_eq!(GpuFault::of_cuda(text), None, "{text}");
        }
    }

    /// `text` is the report of SP1, and `answer` that of the GPU afterwards.
    #[track_caller]
    fn check_failure(text: &str, answer: Result<(), GpuFault>, expected: Option<GpuFault>) {
        assert_eq!(GpuFault::of_failure(text, answer), expected, "{text}");
    }

    #[test]
    fn the_gpu_is_asked_for_the_cause_of_a_failed_allocation() {
        let lost = || GpuFault::Lost("it has not answered for 10 s".to_owned());
        let old = GpuFault::DriverTooOld { found: None };
        let old_text = "CudaRustError: API call is not supported in the installed CUDA driver";
        check_failure("allocation failed", Ok(()), Some(GpuFault::OutOfMemory));
        check_failure("allocation failed", Err(lost()), Some(lost()));
        check_failure("a channel is closed", Err(lost()), Some(lost()));
        check_failure("a channel is closed", Ok(()), None);
        check_failure(old_text, Err(lost()), Some(old));
    }
}
