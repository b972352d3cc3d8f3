"""Mechanical changes to a reference's source: what nobody thought of when the catalogue was written."""

import __future__

import ast
import copy
import random
import warnings
from collections.abc import Iterator

ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)
OPERATORS = {
    **{op: [other for other in ARITHMETIC if other is not op] for op in ARITHMETIC},
    ast.MatMult: [ast.Mult, ast.Add],
    ast.Pow: [ast.Mult, ast.Div],  # nothing becomes a power: of large integers, it would not end
    ast.FloorDiv: [ast.Div, ast.Mod, ast.Mult],
    ast.Mod: [ast.FloorDiv, ast.Mult],
    ast.BitAnd: [ast.BitOr, ast.BitXor],
    ast.BitOr: [ast.BitAnd, ast.BitXor],
}
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
PAIRS = {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
SIBLINGS = [
    {"sum", "mean", "prod", "amax", "amin"}, {"max", "min", "mean", "sum"}, {"argmax", "argmin"}, {"any", "all"},
    {"std", "var"}, {"sin", "cos", "tanh"}, {"exp", "exp2", "expm1"}, {"log", "log2", "log1p"},
    {"sqrt", "rsqrt", "square"},
    {"tril", "triu"}, {"softmax", "log_softmax", "sigmoid"}, {"relu", "gelu", "tanh", "abs", "neg"},
    {"ones", "zeros"}, {"ones_like", "zeros_like"}, {"cumsum", "cumprod"}, {"stack", "cat"}, {"floor", "ceil", "round"},
    {"topk", "sort"}, {"values", "indices"}, {"clamp_min", "clamp_max"}, {"minimum", "maximum"}, {"inf", "pi", "e"},
    {"unsqueeze", "squeeze"}, {"T", "mT"}, {"append", "insert"},
]  # fmt: skip
MODULES = {"torch", "math", "F", "nn"}


def mutants(source: str, at_least: int = 200, seed: int = 0) -> list[str]:
    """At least that many different sources: one change away, and further where single changes are too few.

    Where there are more than twice as many single ones, a fixed draw of that many.
    """
    draw = random.Random(seed)
    original = ast.unparse(ast.parse(source))
    found = list(dict.fromkeys(mutant for mutant in changed(source) if mutant != original))
    if len(found) > 2 * at_least:
        return draw.sample(found, 2 * at_least)
    known = {original, *found}
    while len(found) < at_least:
        tree = ast.parse(draw.choice(found))
        put, _, new = draw.choice(list(_sites(tree)))
        put(new)
        mutant = ast.unparse(tree)
        if mutant not in known and _is_python(mutant):
            known.add(mutant)
            found.append(mutant)
    return found


def changed(source: str) -> Iterator[str]:
    """The source after every single change, one after the other."""
    tree = ast.parse(source)
    for put, old, new in _sites(tree):
        put(new)
        mutant = ast.unparse(tree)
        put(old)
        if _is_python(mutant):
            yield mutant


def _sites(tree: ast.Module) -> Iterator[tuple]:
    """Every change: a function that puts a node in its place of the tree, what is there, and what to put instead."""
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        nodes = list(ast.walk(function))
        names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        names |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        for holder, field in ((function.args, "defaults"), (function.args, "kw_defaults"), (function, "body")):
            yield from _places(holder, field, sorted(names))


def _is_python(source: str) -> bool:
    """It compiles, and without a warning."""
    with warnings.catch_warnings(action="error"):
        try:
            compile(source, "<mutant>", "exec", flags=__future__.annotations.compiler_flag, dont_inherit=True)
        except SyntaxError:
            return False
    return True


def _places(holder: ast.AST, field: str, names: list[str]) -> Iterator[tuple]:
    value = getattr(holder, field)
    if isinstance(value, list):
        if value and isinstance(value[0], ast.stmt):
            yield from ((lambda new: setattr(holder, field, new), value, new) for new in _blocks(value))
        for i, node in enumerate(value):
            if isinstance(node, ast.AST):
                yield from _in(node, lambda new, i=i: value.__setitem__(i, new), names)
    elif isinstance(value, ast.AST):
        yield from _in(value, lambda new: setattr(holder, field, new), names)


def _in(node: ast.AST, put, names: list[str]) -> Iterator[tuple]:
    if isinstance(node, ast.JoinedStr | ast.Raise | ast.Import | ast.ImportFrom | ast.FunctionDef):
        return  # messages, and what has its own turn
    yield from ((put, node, new) for new in _instead(node, names))
    for field in node._fields:
        if field not in ("annotation", "targets", "target", "ctx", "op", "ops"):
            yield from _places(node, field, names)


def _blocks(block: list[ast.stmt]) -> Iterator[list[ast.stmt]]:
    """A statement dropped, done twice, or after the next one."""
    start = 1 if isinstance(block[0], ast.Expr) and isinstance(block[0].value, ast.Constant) else 0  # a docstring
    for i in range(start, len(block)):
        if len(block) - start > 1:
            yield block[:i] + block[i + 1 :]
        if isinstance(block[i], ast.Assign | ast.AugAssign | ast.Expr):
            yield block[: i + 1] + block[i:]
        if i + 1 < len(block) and not isinstance(block[i], ast.Return):
            yield [*block[:i], block[i + 1], block[i], *block[i + 2 :]]
        if isinstance(block[i], ast.If | ast.For):
            yield block[:i] + block[i].body + block[i + 1 :]
            if block[i].orelse:
                yield block[:i] + block[i].orelse + block[i + 1 :]


def _instead(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    """What one node may turn into."""

    def but(**fields) -> ast.AST:
        new = copy.copy(node)
        for field, value in fields.items():
            setattr(new, field, value)
        return new

    if isinstance(node, ast.Return) and node.value or isinstance(node, ast.Name) and node.id in names:
        e = ast.unparse(node.value if isinstance(node, ast.Return) else node)
        for text in ("-({})", "2 * ({})", "({}) + 1", "({}).flip(-1)", "({}).mT", "({}).abs()", "({}).softmax(-1)"):
            new = ast.parse(text.format(e), mode="eval").body
            yield but(value=new) if isinstance(node, ast.Return) else new
    match node:
        case ast.BinOp(left, op, right):
            yield from (but(op=other()) for other in OPERATORS.get(type(op), ()))
            yield from (left, right, ast.UnaryOp(ast.USub(), node), but(left=right, right=left))
        case ast.AugAssign(op=op):
            yield from (but(op=other()) for other in OPERATORS.get(type(op), ()))
            yield ast.Assign([node.target], node.value, lineno=node.lineno)
        case ast.BoolOp(op, values):
            yield but(op=ast.Or() if isinstance(op, ast.And) else ast.And())
            yield from values
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.Compare(ops=[op]):
            if type(op) in COMPARISONS:
                yield from (but(ops=[other()]) for other in COMPARISONS if other is not type(op))
            else:
                yield but(ops=[PAIRS[type(op)]()])
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value)):
            yield from map(_number, sorted({value - 1, value + 1, 0, -value} - {value}))
        case ast.Constant(float(value)):
            yield from map(_number, sorted({value * 2, value / 2, 0.0, 1.0, -value} - {value}))
        case ast.Name(id, ast.Load()) if id in names:
            yield from (ast.Name(other, ast.Load()) for other in names if other != id)
        case ast.Call(func, args, keywords):
            yield from (but(args=args[:i] + args[i + 1 :]) for i in range(len(args)))
            yield from (but(keywords=keywords[:i] + keywords[i + 1 :]) for i in range(len(keywords)))
            for i in range(len(args)):
                for j in range(i):
                    yield but(args=_swapped(args, i, j))
                    yield but(args=args[:i] + [args[j]] + args[i + 1 :])
                    yield but(args=args[:j] + [args[i]] + args[j + 1 :])
            if isinstance(func, ast.Attribute) and getattr(func.value, "id", "") not in MODULES:
                yield func.value
            elif args and not isinstance(args[0], ast.Starred | ast.GeneratorExp):
                yield args[0]
            yield ast.UnaryOp(ast.USub(), node)
        case ast.Attribute(value, attr):
            siblings = set().union(*(family for family in SIBLINGS if attr in family)) - {attr}
            yield from (but(attr=sibling) for sibling in sorted(siblings))
            if attr in ("T", "mT"):
                yield value
            if attr == "inf":
                yield from (ast.Constant(0.0), ast.Constant(1e4))
        case ast.Tuple(elts, ast.Load()) | ast.List(elts, ast.Load()):
            yield but(elts=elts[::-1])
            yield from (but(elts=elts[:i] + elts[i + 1 :]) for i in range(len(elts)))
            yield from (but(elts=_swapped(elts, i, i - 1)) for i in range(1, len(elts)))
            yield from elts if len(elts) > 1 else ()
        case ast.Slice(lower, upper, step):
            for field, bound in (("lower", lower), ("upper", upper), ("step", step)):
                if bound is None:
                    yield from (but(**{field: _number(n)}) for n in (1, -1, 2) if field != "step" or n == 2)
                else:
                    yield but(**{field: None})
                    yield from (but(**{field: ast.BinOp(bound, op(), ast.Constant(1))}) for op in (ast.Add, ast.Sub))
        case ast.Subscript(value):
            yield value
        case ast.IfExp(test, body, orelse):
            yield from (body, orelse, but(body=orelse, orelse=body))
        case ast.If(test) | ast.While(test):
            yield but(test=ast.UnaryOp(ast.Not(), test))


def _number(value: float) -> ast.expr:
    """As the parser has it: a minus before a constant."""
    return ast.Constant(value) if value >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-value))


def _swapped(items: list, i: int, j: int) -> list:
    items = list(items)
    items[i], items[j] = items[j], items[i]
    return items
