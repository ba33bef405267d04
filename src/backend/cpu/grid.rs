//! How a product with few rows is shared among threads: in tiles of rows and panels.

use std::ops::Range;

use super::panels::Panels;

/// Rows of a tile, at most: a block of the left operand, DEPTH wide, then fits into the
/// second-level cache beside the panels of the right one that pass by.
const MOST_ROWS: usize = 128;

/// A matrix cut into tiles.
pub(super) struct Grid {
    rows: usize,
    panels: usize,
    tile_rows: usize,
    tile_panels: usize,
}

impl Grid {
    /// `rows` x the columns of the right operand, one tile a thread at the least. A thread
    /// reads both operands once for each tile, so tiles are cut where they are longer.
    pub(super) fn new<R: Copy>(rows: usize, right: &Panels<R>, threads: usize) -> Grid {
        let panels = right.count();
        let mut grid = Grid { rows, panels, tile_rows: rows.min(MOST_ROWS), tile_panels: panels };
        while grid.count() < threads {
            if grid.tile_panels > 1 && grid.tile_panels * right.width > grid.tile_rows {
                grid.tile_panels = grid.tile_panels.div_ceil(2);
            } else if grid.tile_rows > 8 {
                grid.tile_rows = grid.tile_rows.div_ceil(2).next_multiple_of(8);
            } else {
                break;
            }
        }
        grid
    }

    /// Tiles.
    pub(super) fn count(&self) -> usize {
        self.rows.div_ceil(self.tile_rows) * self.panels.div_ceil(self.tile_panels)
    }

    /// Rows and panels of a tile.
    pub(super) fn at(&self, tile: usize) -> (Range<usize>, Range<usize>) {
        let across = self.panels.div_ceil(self.tile_panels);
        let (row, panel) = (tile / across * self.tile_rows, tile % across * self.tile_panels);
        let rows = row..(row + self.tile_rows).min(self.rows);
        (rows, panel..(panel + self.tile_panels).min(self.panels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_every_element_once() {
        for (rows, cols, threads) in
            [(128, 512, 2), (128, 64, 2), (512, 256, 3), (1, 1, 8), (9, 33, 16), (70, 100, 5)]
        {
            let right = Panels { data: std::ptr::null_mut::<f32>(), rows: 0, cols, width: 16 };
            let grid = Grid::new(rows, &right, threads);
            let mut seen = vec![0; rows * right.count()];
            for (rows, panels) in (0..grid.count()).map(|tile| grid.at(tile)) {
                for row in rows {
                    panels.clone().for_each(|panel| seen[row * right.count() + panel] += 1);
                }
            }
            assert!(seen.iter().all(|&times| times == 1), "{rows} x {cols} on {threads}");
        }
    }
}
