//! How a call is computed: in which arithmetic, by which kernels, in how many splits and
//! chunks. A function of device, problem and shape alone, so that results repeat bit for
//! bit, and that the workspace is known beforehand.

use super::catalogue::{Attend, Catalogue, Family, WIDTHS};
use super::instances::Instance;
use crate::args::{Precision, Problem, Shape};
use crate::error::{Error, Result};
use crate::memory::{Dtype, Tensor};

/// What logits and their products with rows are computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Bf16,
    F16,
    /// float32 as the sum of two bfloat16, three products of four.
    Bf16x3,
    Tf32,
    /// float32 multiply-adds.
    Fma,
}

impl Arithmetic {
    pub(super) const ALL: [Arithmetic; 5] =
        [Arithmetic::Bf16, Arithmetic::F16, Arithmetic::Bf16x3, Arithmetic::Tf32, Arithmetic::Fma];

    fn choose(machine: &Machine, precision: Precision, inputs: Dtype, weights: Dtype) -> Arithmetic {
        match (precision, inputs, weights) {
            _ if !machine.has_tensor_cores() => Arithmetic::Fma,
            (Precision::Ieee, ..) => Arithmetic::Fma,
            (_, Dtype::Bf16, Dtype::Bf16) => Arithmetic::Bf16,
            (_, Dtype::F16, Dtype::F16) => Arithmetic::F16,
            (Precision::Tf32, ..) => Arithmetic::Tf32,
            (Precision::Bf16x3, ..) => Arithmetic::Bf16x3,
        }
    }

    /// Its name in `kernels/arithmetic/`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Arithmetic::Bf16 => "Bf16",
            Arithmetic::F16 => "F16",
            Arithmetic::Bf16x3 => "Bf16x3",
            Arithmetic::Tf32 => "Tf32",
            Arithmetic::Fma => "Fma",
        }
    }

    /// Element type of its operands.
    pub(super) fn dtype(self) -> Dtype {
        match self {
            Arithmetic::Bf16 | Arithmetic::Bf16x3 => Dtype::Bf16,
            Arithmetic::F16 => Dtype::F16,
            Arithmetic::Tf32 | Arithmetic::Fma => Dtype::F32,
        }
    }

    /// Matrices that make up one operand.
    pub(super) fn planes(self) -> usize {
        if self == Arithmetic::Bf16x3 { 2 } else { 1 }
    }

    /// `planes` of the kernels that write operands, where 0 stands for float32.
    pub(super) fn written_planes(self) -> i32 {
        if self.dtype() == Dtype::F32 { 0 } else { self.planes() as i32 }
    }
}

/// Elements that operand rows are a multiple of: 16 bytes of the smallest type.
pub(super) const ROW_ELEMENTS: usize = 8;

/// Bytes that the probabilities of one chunk of rows may take: few enough not to burden
/// the caller, enough that adding chunks up costs little.
pub(super) const CHUNK_BYTES: usize = 64 << 20;

/// Blocks of the grid's second dimension that a launch may have.
const MOST_SPLITS: usize = 65535;

/// What a plan needs to know of a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    pub(super) arch: u32,
    pub(super) sm_count: u32,
    pub(super) max_shared: u32,
    /// Whether the kernels for compute capability 9.0 are used.
    pub(super) wgmma: bool,
    /// `CHUNK_BYTES`.
    pub(super) chunk_bytes: usize,
    /// Bytes that cuBLASLt wants as workspace; 0 where it is absent.
    pub(super) library_workspace: usize,
}

impl Machine {
    /// Those for bfloat16 begin with compute capability 8.0.
    fn has_tensor_cores(&self) -> bool {
        self.arch >= 80
    }

    pub(super) fn runs(&self, arithmetic: Arithmetic) -> bool {
        self.has_tensor_cores() || arithmetic == Arithmetic::Fma
    }
}

/// A range of columns cut into equal parts, one for each block of a row of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) parts: usize,
    pub(super) cols: usize,
}

impl Split {
    fn of(instance: &Instance, rows: usize, cols: usize, machine: &Machine) -> Split {
        Split::into(instance, cols, Split::wanted(instance, rows, machine))
    }

    /// Parts with which all row tiles together make about two blocks for each
    /// multiprocessor.
    fn wanted(instance: &Instance, rows: usize, machine: &Machine) -> usize {
        let row_tiles = rows.div_ceil(instance.rows).max(1);
        (4 * machine.sm_count as usize / row_tiles).div_ceil(2).clamp(1, MOST_SPLITS)
    }

    /// Into `wanted` parts of whole tiles, or fewer.
    pub(super) fn into(instance: &Instance, cols: usize, wanted: usize) -> Split {
        let tiles = cols.div_ceil(instance.cols).max(1);
        let each = tiles.div_ceil(wanted);
        Split { parts: tiles.div_ceil(each), cols: each * instance.cols }
    }
}

/// How gradients are computed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Route {
    /// In one pass each, never storing a probability: a row of the result fits in
    /// registers.
    Attend(Attend),
    /// With the probabilities of `rows` rows at a time in memory.
    Chunks { rows: usize },
}

/// A call's plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) machine: Machine,
    pub(super) shape: Shape,
    pub(super) arithmetic: Arithmetic,
    /// d as operands have it.
    pub(super) padded_dim: usize,
    /// Bits of a position in sorted candidates, and in sorted labels.
    pub(super) index_bits: u32,
    pub(super) label_bits: u32,
    pub(super) family: Family,
    pub(super) route: Route,
}

impl Plan {
    pub(super) fn new(
        machine: &Machine,
        catalogue: &Catalogue,
        problem: &Problem,
        shape: &Shape,
    ) -> Result<Plan> {
        if shape.real == Dtype::F64 {
            return Err(Error::Dtype(
                "inputs_dtype is float64: the CUDA engine computes in float32; float64 is for the CPU engine"
                    .into(),
            ));
        }
        check_limits(shape)?;
        let arithmetic = Arithmetic::choose(machine, problem.precision, shape.inputs, shape.weights);
        let family = *catalogue.family(arithmetic)?;
        Ok(Plan {
            machine: *machine,
            shape: *shape,
            arithmetic,
            padded_dim: shape.dim.next_multiple_of(ROW_ELEMENTS),
            index_bits: bits(shape.sampled),
            label_bits: bits(shape.rows * shape.num_true),
            family,
            route: Route::choose(machine, &family, arithmetic, shape),
        })
    }

    /// N * T.
    pub(super) fn labels(&self) -> usize {
        self.shape.rows * self.shape.num_true
    }

    /// Of the candidates, where something is summed over them for `rows` rows.
    pub(super) fn row_split(&self, instance: &Instance, rows: usize) -> Split {
        Split::of(instance, rows, self.shape.sampled, &self.machine)
    }

    /// Of the rows, where candidates attend to them.
    pub(super) fn class_split(&self, instance: &Instance) -> Split {
        Split::of(instance, self.shape.sampled, self.shape.rows, &self.machine)
    }

    /// Most parts that `class_split` has for this many rows or fewer.
    pub(super) fn most_class_parts(&self, instance: &Instance) -> usize {
        let tiles = self.shape.rows.div_ceil(instance.cols).max(1);
        tiles.min(Split::wanted(instance, self.shape.sampled, &self.machine))
    }

    /// At least what `parts * rows` is for this many rows or fewer: fewer rows are cut into
    /// more parts. Never less for more rows.
    pub(super) fn most_row_parts(&self, instance: &Instance) -> usize {
        /// Numbers of parts that are looked at one by one.
        const ONE_BY_ONE: usize = 8;
        let (rows, blocks) = (self.shape.rows, 4 * self.machine.sm_count as usize);
        let most_parts = self.shape.sampled.div_ceil(instance.cols).max(1);
        let tiles = |parts: usize| (blocks / (2 * parts - 1)).min(rows.div_ceil(instance.rows));
        let fewest = Split::wanted(instance, rows, &self.machine);
        let rest = fewest + ONE_BY_ONE;
        // So many tiles are the most that are cut into this many parts.
        let known =
            (fewest..rest).map(|parts| (tiles(parts) * instance.rows).min(rows) * parts.min(most_parts));
        // With still more parts, tiles * parts is at most this, and falls.
        let bound = (blocks * rest / (2 * rest - 1) + 1) * instance.rows;
        let finer = if rest > blocks.div_ceil(2) { 0 } else { bound.min(rows * most_parts) };
        known.fold(rows.max(finer), usize::max)
    }

    /// Of the candidates where nothing is summed over them: as fine as a grid can be.
    pub(super) fn probability_split(&self) -> Split {
        Split::into(self.family.probabilities, self.shape.sampled, MOST_SPLITS)
    }

    /// Elements of a stored row of probabilities.
    pub(super) fn probability_stride(&self) -> usize {
        self.shape.sampled.next_multiple_of(ROW_ELEMENTS)
    }

    /// Whether cuBLASLt can multiply stored probabilities with rows, if there is any. Three
    /// products of halves it does not know, and float32 it would not keep apart from tf32.
    pub(super) fn suits_library(&self) -> bool {
        matches!(self.arithmetic, Arithmetic::Bf16 | Arithmetic::F16 | Arithmetic::Tf32)
            && matches!(self.route, Route::Chunks { .. })
    }

    pub(super) fn uses_library(&self) -> bool {
        self.machine.library_workspace > 0 && self.suits_library()
    }

    /// Whether a matrix of the caller's already is an operand.
    pub(super) fn is_operand(&self, tensor: &Tensor) -> bool {
        let bytes = tensor.dtype.size();
        tensor.dtype == self.arithmetic.dtype()
            && self.arithmetic.planes() == 1
            && self.padded_dim == self.shape.dim
            && (tensor.data as usize).is_multiple_of(16)
            && (tensor.stride * bytes).is_multiple_of(16)
    }
}

impl Route {
    fn choose(machine: &Machine, family: &Family, arithmetic: Arithmetic, shape: &Shape) -> Route {
        let width = WIDTHS.iter().position(|&width| shape.dim <= width);
        if let Some(attend) = width.and_then(|width| family.attend[width]) {
            return Route::Attend(attend);
        }
        let row =
            shape.sampled.next_multiple_of(ROW_ELEMENTS) * arithmetic.dtype().size() * arithmetic.planes();
        let tile = family.probabilities.rows;
        Route::Chunks { rows: (machine.chunk_bytes / row / tile * tile).max(tile).min(shape.rows) }
    }
}

/// Bits that hold every number below `count`.
fn bits(count: usize) -> u32 {
    usize::BITS - count.saturating_sub(1).leading_zeros()
}

/// Positions are 32-bit numbers in the kernels, and a class and a position share 63 bits
/// of a sorted key.
fn check_limits(shape: &Shape) -> Result<()> {
    let Shape { rows, dim, sampled, num_true, classes, .. } = *shape;
    let most = i32::MAX as usize;
    let labels = rows * num_true;
    let limited = [
        ("num_rows", rows),
        ("dim", dim.next_multiple_of(ROW_ELEMENTS)),
        ("num_sampled", sampled),
        ("num_rows * num_true", labels),
        ("num_sampled + num_rows * num_true", sampled.saturating_add(labels)),
    ];
    if let Some((name, value)) = limited.into_iter().find(|(_, value)| *value > most) {
        return Err(Error::Shape(format!("{name} = {value}: the CUDA engine takes at most {most}")));
    }
    for (name, count) in [("num_sampled", sampled), ("num_rows * num_true", labels)] {
        let need = bits(classes) + bits(count);
        if need > 63 {
            return Err(Error::Shape(format!(
                "num_classes = {classes} and {name} = {count} take {need} bits of a sorted key, which has 63"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rows: usize, sampled: usize, wgmma: bool) -> Plan {
        let machine = Machine {
            arch: 90,
            sm_count: 132,
            max_shared: 227 << 10,
            wgmma,
            chunk_bytes: CHUNK_BYTES,
            library_workspace: 0,
        };
        let catalogue = Catalogue::new(&machine).unwrap();
        let shape = Shape {
            rows,
            dim: 64,
            sampled,
            num_true: 1,
            classes: 1 << 20,
            real: Dtype::F32,
            inputs: Dtype::Bf16,
            weights: Dtype::Bf16,
        };
        let problem = Problem {
            num_classes: 1 << 20,
            num_sampled: sampled as i64,
            num_true: 1,
            hits: crate::args::Hits::Mask,
            reduction: crate::args::Reduction::None,
            probability_floor: 0.0,
            precision: Precision::Bf16x3,
        };
        Plan::new(&machine, &catalogue, &problem, &shape).unwrap()
    }

    #[test]
    fn room_for_parts_suffices_for_every_smaller_batch_and_is_not_much_more() {
        for (sampled, wgmma) in [1, 64, 1000, 8192].into_iter().flat_map(|s| [(s, false), (s, true)]) {
            let (mut most, mut before) = (0, 0);
            for rows in (1..2000).chain((2000..120_000).step_by(61)) {
                let plan = plan(rows, sampled, wgmma);
                let lse = plan.family.lse;
                most = most.max(plan.row_split(lse, rows).parts * rows);
                let room = plan.most_row_parts(lse);
                assert!(room >= most, "{rows} rows, {sampled} candidates: {room} of {most}");
                assert!(room >= before, "{rows} rows, {sampled} candidates: {room} after {before}");
                assert!(
                    room <= most + most / 4 + lse.rows,
                    "{rows} rows, {sampled} candidates: {room}, {most}"
                );
                before = room;
            }
        }
    }

    #[test]
    fn few_rows_are_cut_so_that_every_multiprocessor_has_work() {
        for rows in [1, 64, 500, 2560, 8192] {
            let plan = plan(rows, 1 << 16, false);
            let lse = plan.family.lse;
            let blocks = rows.div_ceil(lse.rows) * plan.row_split(lse, rows).parts;
            assert!((132..=4 * 132).contains(&blocks), "{rows} rows: {blocks} blocks");
        }
    }
}
