"""Largest triangle, three buckets (Steinarsson, Downsampling time series for visual representation, 2013), in a stream.

Samples fall into intervals numbered from 0. Of each one that has a good sample that one is kept which spans the largest
triangle with the sample kept before it and the mean of the samples behind it. A triangle never reaches over a break of
the line: where a neighbour is missing, the line is taken as going on level. Samples come twice, in order and in pieces
of any length: `survey` sees all of them first, so memory does not grow with their number.
"""

from libc.math cimport fabs, isnan

import numpy as np


cdef class LargestTriangles:
    """One reduction. `time`, `value`, `quality`, `line` and `is_kept` are the result, of shape (intervals,)."""

    cdef readonly object time, value, quality, line, is_kept
    cdef long long[::1] _time, _line, _lead_line, _follower
    cdef double[::1] _value, _sum_x, _sum_value
    cdef unsigned int[::1] _quality
    cdef unsigned char[::1] _is_kept
    cdef long long[::1] _count
    cdef Py_ssize_t _intervals
    # The good sample before, in `survey`; the interval that is open, in `choose`.
    cdef long long _number, _last_line
    cdef double _best, _before_x, _before_value, _kept_x, _first_value
    cdef long long _before_line

    def __init__(self, Py_ssize_t intervals):
        self._intervals = intervals
        self.time, self.line = np.zeros(intervals, np.int64), np.full(intervals, -1, np.int64)
        self.value, self.quality = np.zeros(intervals), np.zeros(intervals, np.uint32)
        self.is_kept = np.zeros(intervals, np.uint8)
        self._time, self._line, self._value = self.time, self.line, self.value
        self._quality, self._is_kept = self.quality, self.is_kept
        self._lead_line, self._follower = np.full(intervals, -1, np.int64), np.full(intervals, -1, np.int64)
        self._sum_x, self._sum_value = np.zeros(intervals), np.zeros(intervals)
        self._count = np.zeros(intervals, np.int64)
        self._number = self._last_line = -1

    def survey(self, const long long[::1] number, const double[::1] x, const double[::1] value,
               const unsigned char[::1] is_bad, const long long[::1] line):
        """Take in samples for the first time: what lies behind each interval.

        `number` is the interval of a sample, which never falls; `x` its time in lengths of an interval, `line` the
        number of its line. All of shape (samples,).
        """
        self._check(number, x.shape[0], value.shape[0], is_bad.shape[0], line.shape[0])
        cdef Py_ssize_t i
        cdef long long k
        with nogil:
            for i in range(number.shape[0]):
                if is_bad[i]:
                    continue
                k = number[i]
                if k != self._number:
                    self._lead_line[k] = line[i]
                    if self._number >= 0 and line[i] == self._last_line:
                        self._follower[self._number] = k
                self._number, self._last_line = k, line[i]
                if line[i] == self._lead_line[k]:
                    self._sum_x[k] += x[i]
                    self._sum_value[k] += value[i]
                    self._count[k] += 1

    def begin_choice(self):
        """All samples are surveyed and will come again, to `choose`."""
        self._number = self._before_line = self._last_line = -1
        self._kept_x = 0.0

    def choose(self, const long long[::1] number, const double[::1] x, const long long[::1] time,
               const double[::1] value, const unsigned int[::1] quality, const unsigned char[::1] is_bad,
               const long long[::1] line):
        """Take in samples for the second time; of an interval without a good one the first is kept."""
        self._check(number, x.shape[0], value.shape[0], is_bad.shape[0], line.shape[0])
        if not time.shape[0] == quality.shape[0] == number.shape[0]:
            raise ValueError(f"columns of {number.shape[0]}, {time.shape[0]} and {quality.shape[0]} rows")
        cdef Py_ssize_t i
        cdef long long k
        cdef double area
        with nogil:
            for i in range(number.shape[0]):
                k = number[i]
                if is_bad[i]:
                    if not self._is_kept[k]:
                        self._keep(k, time[i], value[i], quality[i], line[i])
                    continue
                if k != self._number:
                    if self._number >= 0:
                        self._before_x, self._before_value = self._kept_x, self._value[self._number]
                        self._before_line = self._line[self._number]
                    self._number, self._last_line, self._best = k, -1, -1.0
                if line[i] != self._last_line:
                    self._last_line, self._first_value = line[i], value[i]
                area = self._area(k, x[i], value[i], line[i])
                if area > self._best or self._best < 0.0:
                    self._best = 0.0 if isnan(area) else area
                    self._kept_x = x[i]
                    self._keep(k, time[i], value[i], quality[i], line[i])

    cdef double _area(self, long long k, double x, double value, long long line) noexcept nogil:
        """Twice the area of the triangle before - sample - behind."""
        cdef double before_x = <double>k, before = self._first_value, behind_x, behind
        cdef long long follower = self._follower[k]
        if line == self._before_line:
            before_x, before = self._before_x, self._before_value
        if follower >= 0 and line == self._lead_line[follower]:
            behind_x = self._sum_x[follower] / <double>self._count[follower]
            behind = self._sum_value[follower] / <double>self._count[follower]
        else:
            behind_x, behind = <double>(k + 1), before
        return fabs((before_x - behind_x) * (value - before) - (before_x - x) * (behind - before))

    cdef void _keep(self, long long k, long long time, double value, unsigned int quality, long long line) noexcept nogil:
        self._time[k], self._value[k], self._quality[k], self._line[k] = time, value, quality, line
        self._is_kept[k] = 1

    def _check(self, const long long[::1] number, *lengths):
        if any(length != number.shape[0] for length in lengths):
            raise ValueError(f"columns of {number.shape[0]}, {', '.join(map(str, lengths))} rows")
        if number.shape[0] and not (0 <= number[0] and number[number.shape[0] - 1] < self._intervals):
            raise ValueError(f"intervals {number[0]} to {number[number.shape[0] - 1]}; there are {self._intervals}")
        if np.any(np.diff(number) < 0):
            raise ValueError("samples are not in the order of their intervals")
