//! What kernels take: `kernels/arguments.cuh` and `matrix_arguments.cuh`, field by field. Names, units and which
//! pointers may be NULL are said there; a test compares the two declarations.

/// A device address, 0 for NULL.
pub(super) type Address = u64;

/// Sorted labels of one class that `merge_pieces` sums up.
pub(super) const MERGE_PIECE: usize = 64;

/// Elements of a list whose ranks are counted together.
pub(super) const RANK_BLOCK: usize = 256;

/// Blocks in which the ranks of a list of `count` and of its end are counted.
pub(super) fn rank_blocks(count: usize) -> usize {
    count / RANK_BLOCK + 1
}

/// A struct of `kernels/arguments.cuh`; a kernel takes one by value and nothing else.
pub(super) trait Arguments: Copy {}

/// Declares the structs with their sizes.
macro_rules! arguments {
    ($($(#[$alignment:meta])* $name:ident: $size:literal { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$alignment])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default)]
            pub(super) struct $name {
                $(pub(super) $field: $type,)*
            }

            impl Arguments for $name {}

            const _: () = assert!(size_of::<$name>() == $size);
        )*

        /// Every struct by name, with its fields in order, each with its type.
        #[cfg(test)]
        const ALL: &[(&str, &[(&str, &str)])] =
            &[$((stringify!($name), &[$((stringify!($field), stringify!($type))),*])),*];
    };
}

arguments! {
    Tensor: 24 { data: Address, stride: i64, dtype: i32, pad: i32, }
    Operand: 24 { plane: [Address; 2], stride: i64, }
    Hits: 32 { list: Address, begin: Address, end: Address, width: i64, }
    #[repr(align(128))]
    TensorMap: 128 { words: [u64; 16], }
    Control: 56 {
        normaliser: f64,
        status: u32, candidates_status: u32,
        scale_rows: f32, unscale_rows: f32, scale_classes: f32, unscale_classes: f32,
        num_heads: i64, num_new: i64,
        finished_blocks: u32, pad: u32,
    }
    DrawInfo: 24 { tries: i64, status: u32, pad: u32, replays: u64, }
    LogitsArgs: 176 {
        q: Operand, k: Operand,
        rows: i32, cols: i32, dim: i32, cols_per_split: i32,
        col_add: Address,
        hits: Hits,
        partial: Address,
        row_add: Address,
        row_factor: Address,
        scale: Address,
        p: [Address; 2],
        p_stride: i64,
        col_sums: Address,
        redo: Address,
    }
    AttendArgs: 152 {
        q: Operand, k: Operand,
        rows: i32, cols: i32, dim: i32, cols_per_split: i32,
        col_add: Address,
        row_add: Address,
        col_factor: Address,
        hits: Hits,
        scale: Address,
        out: Address,
        partial: Address,
        row_sums: Address,
    }
    LogitsWgmmaArgs: 512 { q: TensorMap, k: TensorMap, logits: LogitsArgs, }
    AttendWgmmaArgs: 512 { q: TensorMap, k: TensorMap, attend: AttendArgs, }
    ProductArgs: 80 {
        a: Operand, b: Operand,
        rows: i32, depth: i32, dim: i32, accumulate: i32,
        depth_factor: Address,
        out: Address,
    }
    KeysArgs: 72 {
        classes: Address,
        dtype: i32, index_bits: i32,
        count: i64, padded: i64,
        num_classes: i64, num_true: i64,
        ignore_index: i64,
        has_ignore_index: i32, ascending: i32,
        keys: Address,
    }
    SortArgs: 32 {
        keys: Address,
        count: i64, run: i64, distance: i64,
    }
    ColumnsArgs: 136 {
        weights: Tensor, biases: Tensor,
        keys: Address,
        index_bits: i32, num_sampled: i32,
        num_classes: i64,
        counts: Address,
        counts_double: i32,
        dim: i32, padded_dim: i32, planes: i32, out_dtype: i32, pad: i32,
        out: [Address; 2],
        col_add: Address,
        control: Address,
    }
    PackArgs: 72 {
        from: Tensor,
        rows: i32, dim: i32, padded_dim: i32, planes: i32, out_dtype: i32, scaled: i32,
        factor: Address,
        out: [Address; 2],
    }
    TrueCountsArgs: 96 {
        labels: Address,
        labels_dtype: i32, has_ignore_index: i32,
        ignore_index: i64,
        count: i64, num_classes: i64, num_sampled: i64,
        sampler: i32, rule: i32,
        constant: f64,
        probabilities: Address,
        info: Address,
        counts: Address,
        counts_double: i32, pad: i32,
    }
    BeginArgs: 328 {
        sample_weights: Tensor,
        labels: Address,
        labels_dtype: i32, has_ignore_index: i32,
        ignore_index: i64,
        rows: i64, num_true: i64,
        mean: i32, pad: i32,
        info: Address,
        candidates: KeysArgs, label_keys: KeysArgs,
        true_counts: TrueCountsArgs,
        control: Address,
    }
    RowsArgs: 240 {
        inputs: Tensor, weights: Tensor, biases: Tensor, sample_weights: Tensor,
        labels: Address,
        labels_dtype: i32, has_ignore_index: i32,
        ignore_index: i64,
        rows: i64, num_true: i64, num_classes: i64,
        dim: i32, counts_double: i32,
        true_counts: Address,
        keys: Address,
        index_bits: i32, num_sampled: i32, mask_hits: i32, grad_stride: i32,
        grad_output: Address,
        backward: i32, pad: i32,
        state: Address,
        true_logits: Address,
        hits: Address,
        row_add: Address,
        control: Address,
    }
    Ranks: 16 { within: Address, before: Address, }
    IndexArgs: 120 {
        keys: Address,
        label_keys: Address,
        labels: i64, num_true: i64,
        num_sampled: i32, index_bits: i32, label_bits: i32, pad: i32,
        list: Address,
        begin: Address,
        end: Address,
        heads: Ranks, news: Ranks,
        control: Address,
        num_rows: Address,
    }
    PrepareArgs: 592 {
        columns: ColumnsArgs,
        rows: RowsArgs,
        pack: PackArgs,
        index: IndexArgs,
        column_blocks: i64, row_blocks: i64, pack_blocks: i64,
    }
    RowTotals: 16 { loss: f64, largest: f32, bad: u32, }
    FinishRowsArgs: 200 {
        partial: Address,
        splits: i32, online: i32,
        true_logits: Address,
        state: Address,
        first: i64, rows: i64, num_true: i64,
        floor: f64,
        sample_weights: Tensor,
        grad_output: Address,
        grad_stride: i32, gradients: i32,
        reduction: i32, half: i32,
        lse: Address,
        loss: Address,
        row_add: Address,
        coefficient: Address,
        part_factor: Address,
        d_true: Address,
        redo: Address,
        totals: Address,
        first_block: i32, more: i32,
        device_status: Address,
        control: Address,
    }
    DInputsArgs: 144 {
        parts: Address,
        splits: i32, padded_dim: i32,
        factor: Address,
        factor_stride: i64,
        unscale: Address,
        weights: Tensor,
        labels: Address,
        labels_dtype: i32, dim: i32,
        first: i64, rows: i64, num_true: i64,
        d_true: Address,
        state: Address,
        out: Address,
        out_stride: i64,
        out_dtype: i32, pad: i32,
    }
    MergeRowsArgs: 216 {
        keys: Address,
        label_keys: Address,
        labels: i64, num_true: i64,
        num_sampled: i32, index_bits: i32, label_bits: i32, sparse: i32,
        heads: Ranks, news: Ranks,
        parts: Address,
        sums: Address,
        pieces: Address,
        splits: i32, sum_parts: i32, dim: i32, padded_dim: i32,
        unscale: Address,
        inputs: Tensor,
        d_true: Address,
        row_ids: Address,
        capacity: i64,
        d_weights: Address,
        d_weights_stride: i64,
        d_biases: Address,
        d_weights_dtype: i32, d_biases_dtype: i32,
        control: Address,
    }
    UpdateRowsArgs: 296 {
        merge: MergeRowsArgs,
        rule: i32,
        rate: f32, epsilon: f32, decay: f32,
        rate_pointer: Address,
        weights: Address,
        weights_stride: i64,
        biases: Address,
        weights_dtype: i32, biases_dtype: i32,
        weights_state: Address,
        weights_state_stride: i64,
        biases_state: Address,
    }
    SharesArgs: 496 {
        index: IndexArgs,
        merge: MergeRowsArgs,
        d_inputs: DInputsArgs,
        rank_blocks: i64, piece_blocks: i64,
    }
    FactorsArgs: 128 {
        pack: PackArgs,
        e: [Address; 2],
        e_stride: i64,
        rows: i32, cols: i32,
        factor: Address,
        sums: Address,
        pack_blocks: i64,
    }
    AddSumsArgs: 32 {
        parts: Address,
        total: Address,
        count: i32, cols: i32, accumulate: i32, pad: i32,
    }
    DrawArgs: 96 {
        key: u64, step: u64,
        step_pointer: Address,
        num_classes: i64, attempts: i64,
        num_sampled: i32, index_bits: i32, law: i32, unique: i32,
        keys: Address,
        marks: Address,
        more: Address,
        ids: Address,
        info: Address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNELS: &str = concat!(
        include_str!("../../../kernels/matrix_arguments.cuh"),
        include_str!("../../../kernels/arguments.cuh")
    );

    /// A declaration's type as this file writes it.
    fn mirrored(declared: &str, is_pointer: bool, elements: Option<&str>) -> String {
        let declared = declared.trim_start_matches("const ").trim_start_matches("alignas(128) ");
        let one = match (is_pointer, declared) {
            (true, _) => "Address",
            (_, "i64") => "i64",
            (_, "int") => "i32",
            (_, "u32") => "u32",
            (_, "float") => "f32",
            (_, "double") => "f64",
            (_, other) => other,
        };
        elements.map_or(one.into(), |count| format!("[{one}; {count}]"))
    }

    /// The structs of the kernels, each with its fields and their types.
    fn declared() -> Vec<(String, Vec<(String, String)>)> {
        let code: String = KERNELS.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
        let structs = code.split("struct ").skip(1).map(|rest| {
            let (name, rest) = rest.split_once('{').expect("a body");
            let (body, _) = rest.split_once("};").expect("its end");
            let mut fields = Vec::new();
            for declaration in body.split(';').map(str::trim).filter(|text| !text.is_empty()) {
                let names = declaration.find([',', '[']).unwrap_or(declaration.len());
                let (of, _) = declaration[..names].rsplit_once([' ', '*']).expect("a type and a name");
                let is_pointer = declaration.contains('*');
                for name in declaration[of.len()..].split(',') {
                    let name = name.trim_matches([' ', '*', ']']);
                    let (name, elements) = name.split_once('[').map_or((name, None), |(n, e)| (n, Some(e)));
                    fields
                        .push((name.into(), mirrored(of.trim_end_matches([' ', '*']), is_pointer, elements)));
                }
            }
            (name.trim().into(), fields)
        });
        structs.collect()
    }

    #[test]
    fn the_pieces_of_a_class_are_as_long_as_the_kernels_take_them() {
        assert!(KERNELS.contains(&format!("constexpr int MERGE_PIECE = {MERGE_PIECE};")));
    }

    #[test]
    fn ranks_are_counted_in_blocks_as_long_as_the_kernels_count_them() {
        let index = include_str!("../../../kernels/index.cuh");
        assert!(index.contains(&format!("constexpr int RANK_BLOCK = {RANK_BLOCK};")));
    }

    #[test]
    fn every_struct_of_the_kernels_is_mirrored_field_by_field() {
        let declared = declared();
        assert_eq!(declared.len(), ALL.len());
        for (name, want) in &declared {
            let (_, fields) = ALL.iter().find(|(known, _)| known == name).expect(name);
            let fields: Vec<_> = fields.iter().map(|(n, t)| (n.to_string(), t.to_string())).collect();
            assert_eq!(&fields, want, "{name}");
        }
    }
}
