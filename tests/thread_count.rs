//! How many threads a handle has that asks for none in particular: what the environment
//! says. A process's environment is shared by its tests, so each is asked for in a
//! process of its own.

mod common;

use std::process::{Command, Output};

use common::{Call, Case, Handle, Random, default_config};
use sampled_softmax::abi::*;

const VARIABLE: &str = "SAMPLED_SOFTMAX_NUM_THREADS";

fn config(num_threads: u32) -> ssl_config {
    ssl_config { num_threads, num_classes: 50, num_sampled: 40, ..default_config() }
}

/// The workspace has room for each thread, and so tells how many there are.
fn workspace(num_threads: u32) -> Result<[usize; 2], common::Failure> {
    let handle = Handle::create(&config(num_threads))?;
    let case = Case::random([8, 4, 50, 40, 1], &mut Random::new(1));
    Ok(Call::on(&case, std::sync::Arc::new(handle)).workspace_sizes())
}

/// Runs the test below in a new process under a value of the variable.
fn under(value: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "report_the_default", "--ignored", "--nocapture"])
        .env(VARIABLE, value)
        .output()
        .unwrap()
}

#[test]
#[ignore = "the other tests of this file start it, in a process of its own"]
fn report_the_default() {
    println!("default {:?}", workspace(0));
}

#[test]
fn environment_decides_where_the_handle_does_not() {
    for threads in [1, 3, 6] {
        let output = under(&threads.to_string());
        let text = String::from_utf8(output.stdout).unwrap();
        let expected = format!("default {:?}", workspace(threads));
        assert!(text.contains(&expected), "{threads}: {text} lacks {expected}");
    }
    assert_ne!(workspace(1), workspace(3));
}

#[test]
fn environment_that_is_no_thread_count_is_an_error_with_its_value() {
    for value in ["0", "1025", "-1", "many", "3.5"] {
        let text = String::from_utf8(under(value).stdout).unwrap();
        let status = format!("status: {SSL_STATUS_INVALID_VALUE}");
        let words = format!("{VARIABLE}={value}");
        assert!(text.contains(&status) && text.contains(&words), "{value}: {text}");
    }
}
