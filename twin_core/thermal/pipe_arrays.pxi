# The arrays of several pipes and members, as both kinds of pipes take them: whether they fit.

cdef check_arrays(
    Py_ssize_t pipes, Py_ssize_t width, Py_ssize_t memo_width, double[:, ::1] rows, double[:, ::1] memos,
    const double[:, ::1] mass_kg, const double[:, ::1] temp_k, double dt_s, const double[::1] ambient_temp_k,
    double[:, ::1] out_mass_kg, double[:, ::1] out_heat_kgk, double[::1] loss_j,
):
    """Refuse arrays that do not fit `pipes` whose records are `width` wide together, each with a memo."""
    cdef Py_ssize_t members = rows.shape[0]
    if not (mass_kg.shape[0] == temp_k.shape[0] == out_mass_kg.shape[0] == out_heat_kgk.shape[0] == pipes):
        raise InvalidInput(f"flows of {mass_kg.shape[0]} pipes, not {pipes}")
    if not (members == memos.shape[0] == mass_kg.shape[1] == temp_k.shape[1] == out_mass_kg.shape[1]
            == out_heat_kgk.shape[1] == ambient_temp_k.shape[0] == loss_j.shape[0]):
        raise InvalidInput(f"arrays do not all have {members} members")
    if rows.shape[1] != width or memos.shape[1] != pipes * memo_width:
        raise InvalidInput(f"rows of {rows.shape[1]} and memos of {memos.shape[1]} numbers do not fit these pipes")
    if not dt_s > 0.0:
        raise InvalidInput(f"dt_s {dt_s} must be positive")
