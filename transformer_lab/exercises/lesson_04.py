"""Exercises of lesson 04."""

from transformer_lab.exercises.checking import Exercise

EXERCISES: list[Exercise] = []
