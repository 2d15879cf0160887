//! Runs real programs without proving them: counts their gas, and finds input that they do not read.

use sp1_core_executor::{RiscvAirId, SP1Context, get_complexity_mapping, rv64im_costs};
use sp1_core_machine::io::SP1Stdin;
use sp1d_engine::{ProofRunnerSettings, Sp1ProofRunner, UnreadInput, count_gas_on, execute_on};
use sp1d_orchestrator::ProofFailure;
use std::{process::Command, time::Instant};
use tokio_util::sync::CancellationToken;

/// Higher than the gas of every run here.
const NO_LIMIT: u64 = u64::MAX >> 1;

fn program(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../../guests/elf/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn input(value: u32) -> SP1Stdin {
    let mut stdin = SP1Stdin::new();
    stdin.write(&value);
    stdin
}

async fn runner() -> Sp1ProofRunner {
    Sp1ProofRunner::new(ProofRunnerSettings { key_folder: None, ..ProofRunnerSettings::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn counted_gas_is_that_of_sp1_and_a_run_may_use_exactly_its_limits() {
    let (runner, program) = (runner().await, program("fibonacci"));
    let node = runner.light().inner();
    let (_, report) = execute_on(node, &program, input(1000), SP1Context::builder().build()).await.unwrap();
    let (gas, cycles) = (report.gas().unwrap(), report.total_instruction_count());
    assert!(gas > 1 && cycles > 1, "{gas} gas, {cycles} cycles");
    let too_much = |limit, gas| Err(ProofFailure::GasLimit { limit, gas });
    // The limits of gas and of cycles, and the outcome.
    let cases = [
        (gas, None, Ok(gas)),
        (gas, Some(cycles), Ok(gas)),
        (NO_LIMIT, Some(cycles), Ok(gas)),
        (gas - 1, None, too_much(gas - 1, Some(gas))),
        (1, None, too_much(1, None)),
    ];
    for (gas_limit, cycle_limit, expected) in cases {
        let counted = count_gas_on(node, &program, input(1000), gas_limit, cycle_limit, None).await;
        assert_eq!(counted, expected, "limits: {gas_limit} gas, {cycle_limit:?} cycles");
    }
    let stopped = count_gas_on(node, &program, input(1000), NO_LIMIT, Some(cycles - 1), None).await.unwrap_err();
    assert!(matches!(stopped, ProofFailure::Program(_)), "{stopped:?}");
    assert!(stopped.to_string().contains(&format!("limit of {} cycles", cycles - 1)), "{stopped}");
}

/// As in a proof. SP1's own clients stop such a run.
#[tokio::test(flavor = "multi_thread")]
async fn an_execution_may_use_exactly_its_cycle_limit() {
    let (runner, program) = (runner().await, program("fibonacci"));
    let (stdin, never) = (bincode::serialize(&input(1000)).unwrap(), CancellationToken::new());
    let execute = |cycle_limit| runner.execute(&program, &stdin, cycle_limit, &never);
    let cycles = execute(None).await.unwrap().cycles;
    assert_eq!(execute(Some(cycles)).await.unwrap().cycles, cycles);
    let stopped = execute(Some(cycles - 1)).await.unwrap_err();
    assert!(matches!(stopped, ProofFailure::Program(_)), "{stopped:?}");
    assert!(stopped.to_string().contains(&format!("limit of {} cycles", cycles - 1)), "{stopped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn input_that_a_program_does_not_read_is_found() {
    let (runner, program) = (runner().await, program("fibonacci"));
    // The program reads one value.
    for (values, expected) in [(1, None), (3, Some(UnreadInput { unread: 2, values: 3 }))] {
        let mut stdin = SP1Stdin::new();
        (0..values).for_each(|_| stdin.write(&7_u32));
        let stdin = bincode::serialize(&stdin).unwrap();
        let started = Instant::now();
        let executed = runner.execute(&program, &stdin, None, &CancellationToken::new()).await.unwrap();
        assert_eq!(executed.unread, expected, "{values} values");
        // The second run, which finds the unread values, comes after the measured one.
        assert!(!executed.elapsed.is_zero() && executed.elapsed < started.elapsed(), "{:?}", executed.elapsed);
    }
}

/// The loop accesses no memory, so SP1 never gets a part of its trace to count.
#[tokio::test(flavor = "multi_thread")]
async fn endless_loop_exceeds_its_gas_limit() {
    let runner = runner().await;
    let counted = count_gas_on(runner.light().inner(), &program("spin"), input(0), 1_000_000, None, None).await;
    assert_eq!(counted, Err(ProofFailure::GasLimit { limit: 1_000_000, gas: None }));
}

/// Counts the gas of a program that uses 1 GiB, in a process whose environment limits programs to 256 MiB.
async fn check_memory_limits() {
    let (runner, program) = (runner().await, program("memory"));
    let count =
        |memory_bytes| count_gas_on(runner.light().inner(), &program, input(1024), NO_LIMIT, None, memory_bytes);
    // The limit, and whether the program may use its memory.
    for (memory_bytes, fits) in [(None, false), (Some(4 << 30), true), (Some(256 << 20), false)] {
        match count(memory_bytes).await {
            Ok(_) => assert!(fits, "{memory_bytes:?} bytes are enough"),
            Err(failure) => {
                assert!(!fits && failure.to_string().contains("`memory_limit`"), "{memory_bytes:?}: {failure}");
            }
        }
    }
}

/// The settings of a proof may raise the limit of the environment. The environment of a process is the same for all of
/// its tests, so a process of its own runs the check.
#[tokio::test(flavor = "multi_thread")]
async fn a_count_has_the_memory_limit_of_its_proof() {
    const ROLE: &str = "SP1D_TEST_GAS_MEMORY";
    if std::env::var_os(ROLE).is_some() {
        return check_memory_limits().await;
    }
    let mut process = Command::new(std::env::current_exe().unwrap());
    process.args(["--exact", "a_count_has_the_memory_limit_of_its_proof", "--nocapture"]);
    let output = process.env(ROLE, "1").env("MEMORY_LIMIT", (256 << 20).to_string()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{errors}");
}

/// A run is stopped after two cycles for each gas of its limit. That must not stop a run within its limit.
#[test]
fn every_instruction_costs_more_than_half_a_gas() {
    use RiscvAirId::{
        Add, Addi, Addw, Bitwise, Branch, DivRem, Jal, Jalr, LoadByte, LoadDouble, LoadHalf, LoadWord, Lt, Mul,
        ShiftLeft, ShiftRight, StoreByte, StoreDouble, StoreHalf, StoreWord, Sub, Subw, SyscallInstrs, UType,
    };
    let (costs, complexity) = (rv64im_costs(), get_complexity_mapping());
    for table in [
        Add,
        Addi,
        Addw,
        Bitwise,
        Branch,
        DivRem,
        Jal,
        Jalr,
        LoadByte,
        LoadDouble,
        LoadHalf,
        LoadWord,
        Lt,
        Mul,
        ShiftLeft,
        ShiftRight,
        StoreByte,
        StoreDouble,
        StoreHalf,
        StoreWord,
        Sub,
        Subw,
        SyscallInstrs,
        UType,
    ] {
        // SP1 divides by 191.
        let cost = 3 * costs[&table] as u64 + complexity[table];
        assert!(2 * cost > 191, "{table:?}: {cost}");
    }
}
