//! Runs the unit tests in `device.rs`, and compares the options of provers on processors and on GPUs.

#[path = "../src/device.rs"]
#[allow(dead_code, unreachable_pub, reason = "the engine uses them")]
mod device;

use sp1d_engine::{CutOptions, ProverDevice};

/// The same options, as provers on both devices use them.
#[track_caller]
fn check(options: &CutOptions) {
    let (processor, gpu) = (options.for_device(ProverDevice::Processor), options.for_device(ProverDevice::Gpu));
    assert!(!processor.global_dependencies_opt, "a CPU prover computes the lookups of global memory itself");
    assert!(gpu.global_dependencies_opt, "a GPU prover generates the lookups of global memory on the GPU");
    // Nothing else may differ: the executor and all workers cut by the same options.
    let as_processor = sp1_core_executor::SP1CoreOpts { global_dependencies_opt: false, ..gpu };
    assert_eq!(processor, as_processor);
}

#[test]
fn options_of_both_devices_differ_in_the_lookups_of_global_memory_only() {
    let options = CutOptions::from_variables(|_| None).unwrap();
    check(&options);
    check(&CutOptions::decode(&options.encode()).unwrap());
}

#[test]
fn options_of_a_peer_do_not_decide_who_computes_the_lookups() {
    let text = CutOptions::from_variables(|_| None).unwrap().encode();
    let changed = text.replace("\"global_dependencies_opt\":false", "\"global_dependencies_opt\":true");
    assert_ne!(text, changed);
    check(&CutOptions::decode(&changed).unwrap());
}
