"""Exercises of lesson 02."""

from transformer_lab.exercises.checking import Exercise

EXERCISES: list[Exercise] = []
