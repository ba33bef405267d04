//! Every way a call can fail, each with its numbers, and the status it becomes.

use crate::abi;

/// Why a call was refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value outside its documented set.
    #[error("{0}")]
    InvalidValue(String),
    /// A required pointer is NULL.
    #[error("{0} is NULL")]
    NullPointer(&'static str),
    /// An impossible `struct_size`, or fields from a newer header.
    #[error("{0}")]
    StructSize(String),
    /// A size, stride or product out of range.
    #[error("{0}")]
    Shape(String),
    /// An unknown dtype or a meaningless combination.
    #[error("{0}")]
    Dtype(String),
    /// A pointer that does not suit its element type.
    #[error("{argument}: address {address:#x} is not a multiple of {alignment}")]
    Alignment {
        /// The field that holds the pointer.
        argument: &'static str,
        /// Its value.
        address: usize,
        /// What it must be a multiple of, in bytes.
        alignment: usize,
    },
    /// Too little scratch memory.
    #[error("workspace: need {need} bytes, got {got}")]
    Workspace {
        /// Bytes that the call needs.
        need: usize,
        /// Bytes that the caller gave.
        got: usize,
    },
    /// A label or candidate that is no class.
    #[error("{argument}{index} = {value} is outside [0, {num_classes})")]
    LabelRange {
        /// The array.
        argument: &'static str,
        /// Position in it, as `[3]` or `[3, 1]`.
        index: String,
        /// The value found there.
        value: i64,
        /// C.
        num_classes: i64,
    },
    /// An expected count whose logarithm has no use.
    #[error("{0}")]
    ExpectedCount(String),
    /// Two buffers share memory and one would be written.
    #[error("{0} and {1} overlap")]
    Overlap(&'static str, &'static str),
    /// The backend is absent.
    #[error("{0}")]
    NoBackend(String),
    /// The device's architecture has no kernels.
    #[error("{0}")]
    Architecture(String),
    /// Something that a stream capture does not allow.
    #[error("{0}")]
    GraphCapture(String),
    /// Host memory ran out.
    #[error("out of host memory: {bytes} bytes for {purpose}")]
    HostMemory {
        /// Bytes asked for.
        bytes: usize,
        /// What they were for.
        purpose: &'static str,
    },
    /// The system refused a thread: a limit, or no memory for its stack.
    #[error("{0}")]
    Thread(String),
    /// Device memory ran out.
    #[error("out of device memory: {0}")]
    DeviceMemory(String),
    /// A file could not be read.
    #[error("{path}: {reason}")]
    File {
        /// The path as given.
        path: String,
        /// What the system or the parser said.
        reason: String,
    },
    /// The driver refused a kernel or another piece of work; the device goes on.
    #[error("{0}")]
    Launch(String),
    /// The device failed, and all that is on it is gone.
    #[error("{0}")]
    DeviceLost(String),
    /// A defect of ours, caught at the boundary.
    #[error("internal error: {0}")]
    Panic(String),
}

/// Result of everything behind the boundary.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The C status of this error.
    pub fn status(&self) -> abi::ssl_status {
        match self {
            Error::InvalidValue(_) => abi::SSL_STATUS_INVALID_VALUE,
            Error::NullPointer(_) => abi::SSL_STATUS_NULL_POINTER,
            Error::StructSize(_) => abi::SSL_STATUS_STRUCT_SIZE,
            Error::Shape(_) => abi::SSL_STATUS_SHAPE,
            Error::Dtype(_) => abi::SSL_STATUS_DTYPE,
            Error::Alignment { .. } => abi::SSL_STATUS_ALIGNMENT,
            Error::Workspace { .. } => abi::SSL_STATUS_WORKSPACE,
            Error::LabelRange { .. } => abi::SSL_STATUS_LABEL_RANGE,
            Error::ExpectedCount(_) => abi::SSL_STATUS_EXPECTED_COUNT,
            Error::Overlap(..) => abi::SSL_STATUS_OVERLAP,
            Error::NoBackend(_) => abi::SSL_STATUS_NO_BACKEND,
            Error::Architecture(_) => abi::SSL_STATUS_ARCHITECTURE,
            Error::GraphCapture(_) => abi::SSL_STATUS_GRAPH_CAPTURE,
            Error::HostMemory { .. } | Error::Thread(_) => abi::SSL_STATUS_HOST_MEMORY,
            Error::DeviceMemory(_) => abi::SSL_STATUS_DEVICE_MEMORY,
            Error::File { .. } => abi::SSL_STATUS_FILE,
            Error::Launch(_) => abi::SSL_STATUS_LAUNCH,
            Error::DeviceLost(_) => abi::SSL_STATUS_DEVICE_LOST,
            Error::Panic(_) => abi::SSL_STATUS_PANIC,
        }
    }
}

/// A status in words, for statuses this library does not know too.
pub fn status_string(status: abi::ssl_status) -> &'static std::ffi::CStr {
    match status {
        abi::SSL_STATUS_OK => c"success",
        abi::SSL_STATUS_INVALID_VALUE => c"invalid value",
        abi::SSL_STATUS_NULL_POINTER => c"null pointer",
        abi::SSL_STATUS_STRUCT_SIZE => c"wrong struct size",
        abi::SSL_STATUS_SHAPE => c"bad shape",
        abi::SSL_STATUS_DTYPE => c"bad dtype",
        abi::SSL_STATUS_ALIGNMENT => c"misaligned pointer",
        abi::SSL_STATUS_WORKSPACE => c"workspace too small",
        abi::SSL_STATUS_LABEL_RANGE => c"label out of range",
        abi::SSL_STATUS_EXPECTED_COUNT => c"bad expected count",
        abi::SSL_STATUS_OVERLAP => c"overlapping buffers",
        abi::SSL_STATUS_NO_BACKEND => c"backend not available",
        abi::SSL_STATUS_ARCHITECTURE => c"device architecture not supported",
        abi::SSL_STATUS_GRAPH_CAPTURE => c"not possible during graph capture",
        abi::SSL_STATUS_HOST_MEMORY => c"out of host memory",
        abi::SSL_STATUS_DEVICE_MEMORY => c"out of device memory",
        abi::SSL_STATUS_FILE => c"file cannot be read",
        abi::SSL_STATUS_LAUNCH => c"kernel launch failed",
        abi::SSL_STATUS_DEVICE_LOST => c"device lost",
        abi::SSL_STATUS_PANIC => c"internal error",
        _ => c"unknown status",
    }
}
