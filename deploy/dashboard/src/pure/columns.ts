/** Selects the columns of a table that does not fit its width. */

/** The `count` columns with the highest `drop`; of equal ones, those further right. A column without `drop` is never among them. */
export function hiddenColumns<C extends { readonly drop?: number }>(columns: readonly C[], count: number): ReadonlySet<C> {
  const candidates = columns.filter((column) => column.drop !== undefined).reverse();
  candidates.sort((one, other) => (other.drop ?? 0) - (one.drop ?? 0));
  return new Set(candidates.slice(0, count));
}
