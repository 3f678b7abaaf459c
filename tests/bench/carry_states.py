# ruff: noqa: E501  a state is a line
"""States of notebooks: cells, and for each variable an expression that is true where the variable came back right.

After the public first examples of each package (numpy: quickstart; pandas: 10 minutes; xarray: quick overview;
scikit-learn: getting started, plot_*; matplotlib: quick start; dask: 10 minutes; networkx: tutorial; torch: learn the
basics), and traps. An expression "False" is for what can't be in another process: right is only to name it.
"""

STATES: dict[str, tuple[str, dict[str, str]]] = {
    "numpy arrays": (
        "import numpy as np\na = np.arange(15).reshape(3, 5)\nb = np.array([[1.5, 2], [4, 5]])\nc = a > 3",
        {"a": "a.shape == (3, 5) and a[2, 4] == 14", "b": "b.sum() == 12.5", "c": "c.dtype == bool and c.sum() == 11"},
    ),
    "numpy views": (
        "import numpy as np\na = np.arange(12.)\nb = a.reshape(3, 4)\nc = b[:, 1]",
        {"a": "a.size == 12", "b": "np.shares_memory(a, b)", "c": "np.shares_memory(a, c) and c[1] == 5"},
    ),
    "numpy records": (
        "import numpy as np\nr = np.zeros(3, [('x', 'i4'), ('y', 'U3')])\nr['y'] = 'abc'\nd = r.dtype\nm = r.view(np.recarray)",
        {"r": "r['y'][2] == 'abc'", "d": "d == r.dtype", "m": "np.shares_memory(m, r)"},
    ),
    "numpy random": (
        "import numpy as np\ng = np.random.default_rng(1)\nx = g.normal(size=4)\nn = np.random.default_rng(1)\n_ = n.normal(size=4)\nw = n.random()",
        {"g": "g.random() == w", "x": "x.size == 4", "w": "isinstance(w, float)"},
    ),
    "numpy masked": (
        "import numpy as np\nm = np.ma.masked_less(np.arange(5), 2)\nk = np.ma.masked",
        {"m": "m.sum() == 9", "k": "k is np.ma.masked"},
    ),
    "numpy polynomial": (
        "import numpy as np\np = np.polynomial.Polynomial([1, 2])\nv = np.vectorize(lambda x: x + 1)\nu = np.sin",
        {"p": "p(2) == 5", "v": "v([1])[0] == 2", "u": "u is np.sin"},
    ),
    "numpy memmap": (
        "import numpy as np, tempfile\npath = tempfile.mkstemp()[1]\nm = np.memmap(path, shape=8, mode='w+')\nv = np.asarray(m)[2:]",
        {"path": "isinstance(path, str)", "m": "False", "v": "False"},
    ),
    "numpy read-only and Fortran": (
        "import numpy as np\nr = np.arange(3)\nr.flags.writeable = False\nf = np.asfortranarray(np.ones((2, 3)))\nb = np.broadcast_to(np.arange(3), (4, 3))",
        {"r": "not r.flags.writeable", "f": "f.flags.f_contiguous", "b": "b.shape == (4, 3) and b[3, 2] == 2"},
    ),
    "pandas frame": (
        "import pandas as pd, numpy as np\ndf = pd.DataFrame(np.arange(24.).reshape(6, 4), index=pd.date_range('20130101', periods=6), columns=list('ABCD'))\ns = df['A']\ng = df.groupby(df.index.month)\nt = df.T",
        {
            "df": "df.loc['2013-01-03', 'B'] == 9",
            "s": "s.equals(df['A'])",
            "g": "g.sum().iloc[0, 0] == 60",
            "t": "t.T.equals(df)",
        },
    ),
    "pandas copies on write": (
        "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2, 3], 'b': [4., 5., 6.]})\nd2 = df[:]\ns = df['a']\nkeep = df.copy()",
        {
            "keep": "keep['a'].sum() == 6",
            "d2": "(df.__setitem__('a', 0), d2['a'].sum() == 6)[1]",
            "s": "(df.iloc.__setitem__((0, 0), 9), s.sum() == 6)[1]",
            "df": "len(df) == 3",
        },
    ),
    "pandas types": (
        "import pandas as pd\nc = pd.Categorical(['a', 'b', 'a'])\nm = pd.MultiIndex.from_product([[1, 2], ['x']])\nt = pd.Timestamp('2020', tz='UTC')\nn = pd.NA\np = pd.array([1, None], dtype='Int64')\ni = pd.interval_range(0, 3)",
        {
            "c": "c.codes.tolist() == [0, 1, 0]",
            "m": "m[1] == (2, 'x')",
            "t": "t.year == 2020 and str(t.tz) == 'UTC'",
            "n": "n is pd.NA",
            "p": "p[1] is pd.NA and p[0] == 1",
            "i": "len(i) == 3",
        },
    ),
    "pandas text": (
        "import pandas as pd\ns = pd.Series(['a', None, 'c'])\na = s.str.upper()\nf = pd.DataFrame({'when': pd.to_datetime(['2020-01-01']), 'who': ['me']})\nr = f['when'].rolling",
        {
            "s": "s.isna().sum() == 1",
            "a": "a[2] == 'C'",
            "f": "f['when'].dt.year[0] == 2020",
            "r": "r(1).count()[0] == 1",
        },
    ),
    "pandas attributes": (
        "import pandas as pd\nmeta = {'unit': 'm'}\ndf = pd.DataFrame({'a': [1]})\ndf.attrs['meta'] = meta\nalias = df\nrows = {'df': df}",
        {"meta": "df.attrs['meta'] == meta", "alias": "alias is df", "rows": "rows['df'] is df", "df": "df.a[0] == 1"},
    ),
    "pyarrow": (
        "import pyarrow as pa\nt = pa.table({'a': [1, 2], 'b': ['x', None]})\na = t.column('a')\ns = t.schema\nz = a.chunk(0).slice(1)",
        {"t": "t.num_rows == 2", "a": "a.to_pylist() == [1, 2]", "s": "s == t.schema", "z": "z.to_pylist() == [2]"},
    ),
    "xarray": (
        "import xarray as xr, numpy as np\nd = xr.DataArray(np.ones((2, 3)), dims=('x', 'y'), coords={'x': [10, 20]})\nds = xr.Dataset({'foo': d, 'baz': np.pi})\nsel = d.sel(x=10)\ng = ds.groupby('x')",
        {"d": "d.sel(x=20).sum() == 3", "ds": "ds.foo.equals(d)", "sel": "sel.sum() == 3", "g": "len(g) == 2"},
    ),
    "xarray shared": (
        "import xarray as xr, numpy as np\nraw = np.zeros((2, 2))\nd = xr.DataArray(raw, dims=('x', 'y'))",
        {"raw": "raw.shape == (2, 2)", "d": "np.shares_memory(d.values, raw)"},
    ),
    "sklearn pipeline": (
        "from sklearn.datasets import load_iris\nfrom sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler\nfrom sklearn.linear_model import LogisticRegression\nX, y = load_iris(return_X_y=True)\npipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)\nscore = pipe.score(X, y)\nstep = pipe[0]",
        {
            "X": "X.shape == (150, 4)",
            "y": "set(y) == {0, 1, 2}",
            "pipe": "pipe.score(X, y) == score",
            "score": "score > .9",
            "step": "step is pipe[0]",
        },
    ),
    "sklearn forest": (
        "from sklearn.ensemble import RandomForestClassifier\nfrom sklearn.datasets import make_classification\nX, y = make_classification(random_state=0)\nf = RandomForestClassifier(5, random_state=0).fit(X, y)\np = f.predict_proba(X)\ntree = f.estimators_[0]",
        {
            "X": "len(X) == 100",
            "y": "len(y) == 100",
            "f": "(f.predict_proba(X) == p).all()",
            "p": "len(p) == 100",
            "tree": "tree is f.estimators_[0]",
        },
    ),
    "sklearn search": (
        "from sklearn.model_selection import GridSearchCV\nfrom sklearn.svm import SVC\nfrom sklearn.datasets import load_iris\niris = load_iris()\ns = GridSearchCV(SVC(), {'C': [1, 10]}, cv=2).fit(iris.data, iris.target)\nbest = s.best_estimator_",
        {
            "iris": "iris.target_names[0] == 'setosa'",
            "s": "s.best_params_['C'] in (1, 10)",
            "best": "best is s.best_estimator_",
        },
    ),
    "sklearn neighbours": (
        "from sklearn.neighbors import KDTree\nfrom sklearn.cluster import KMeans\nfrom sklearn.feature_extraction.text import TfidfVectorizer\nimport numpy as np\nX = np.random.RandomState(0).rand(20, 2)\nt = KDTree(X)\nk = KMeans(2, n_init=1, random_state=0).fit(X)\nv = TfidfVectorizer()\nm = v.fit_transform(['a cat', 'the dog'])",
        {
            "X": "X.shape == (20, 2)",
            "t": "t.query(X[:1], k=1)[1][0, 0] == 0",
            "k": "len(k.labels_) == 20",
            "v": "'cat' in v.vocabulary_",
            "m": "m.shape == (2, 3)",
        },
    ),
    "sklearn own transformer": (
        "from sklearn.base import BaseEstimator, TransformerMixin\nfrom sklearn.preprocessing import FunctionTransformer\nfactor = 2\nclass Twice(TransformerMixin, BaseEstimator):\n    def fit(self, X, y=None): return self\n    def transform(self, X): return factor * X\nt = Twice().fit(None)\nf = FunctionTransformer(lambda X: X * factor)",
        {
            "factor": "factor == 2",
            "Twice": "isinstance(t, Twice)",
            "t": "(globals().__setitem__('factor', 3), t.transform(2) == 6)[1]",
            "f": "(globals().__setitem__('factor', 3), f.transform(2) == 6)[1]",
        },
    ),
    "matplotlib figure": (
        "import matplotlib; matplotlib.use('Agg')\nimport matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nline, = ax.plot([1, 2, 3], [1, 4, 9])\nax.set_title('t')",
        {"fig": "fig.axes[0] is ax", "ax": "ax.get_title() == 't'", "line": "line is ax.lines[0]"},
    ),
    "matplotlib settings": (
        "import matplotlib; matplotlib.use('Agg')\nimport matplotlib.pyplot as plt\nplt.rcParams['lines.linewidth'] = 7\nm = plt.get_cmap('viridis')\nn = plt.Normalize(0, 2)",
        {"plt": "plt.rcParams['lines.linewidth'] == 7", "m": "m.N == 256", "n": "n(1) == .5"},
    ),
    "matplotlib callbacks": (
        "import matplotlib; matplotlib.use('Agg')\nimport matplotlib.pyplot as plt\nfig, axs = plt.subplots(2, 2)\nhits = []\nc = fig.canvas.mpl_connect('button_press_event', hits.append)",
        {"fig": "axs[0, 0] in fig.axes", "axs": "axs.shape == (2, 2)", "hits": "hits == []"},
    ),
    "dask": (
        "import dask, dask.array as da, dask.dataframe as dd, pandas as pd\nx = da.ones((10, 10), chunks=5)\ns = x.sum()\n@dask.delayed\ndef inc(i): return i + 1\nd = inc(1)\nf = dd.from_pandas(pd.DataFrame({'a': range(4)}), npartitions=2)",
        {
            "x": "x.shape == (10, 10)",
            "s": "s.compute() == 100",
            "inc": "inc(2).compute() == 3",
            "d": "d.compute() == 2",
            "f": "f.a.sum().compute() == 6",
        },
    ),
    "networkx": (
        "import networkx as nx\ng = nx.karate_club_graph()\nd = nx.DiGraph([(1, 2)])\nnodes = g.nodes\npos = nx.circular_layout(d)\nsub = g.subgraph([0, 1, 2])",
        {
            "g": "g.number_of_nodes() == 34",
            "d": "list(d.successors(1)) == [2]",
            "nodes": "len(nodes) == 34 and nodes[0] is g.nodes[0]",
            "pos": "len(pos) == 2",
            "sub": "sub.number_of_edges() == 3",
        },
    ),
    "torch tensors": (
        "import torch\nt = torch.arange(6.).reshape(2, 3)\nv = t[1]\ng = torch.ones(2, requires_grad=True)\nn = t.numpy()",
        {
            "t": "t.sum() == 15",
            "v": "v.data_ptr() == t[1].data_ptr()",
            "g": "g.requires_grad",
            "n": "(t.fill_(7), n[0, 0] == 7)[1]",
        },
    ),
    "torch training": (
        "import torch\nfrom torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.stack = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))\n    def forward(self, x): return self.stack(x)\nnet = Net()\nopt = torch.optim.Adam(net.parameters())\nloss = net(torch.ones(1, 4)).sum()\nloss.backward()\nopt.step()\nout = net(torch.ones(1, 4)).detach()\nstate = net.state_dict()",
        {
            "Net": "isinstance(net, Net)",
            "net": "torch.equal(net(torch.ones(1, 4)), out)",
            "opt": "opt.param_groups[0]['params'][0] is next(net.parameters())",
            "loss": "False",
            "out": "out.shape == (1, 2)",
            "state": "state['stack.0.weight'].data_ptr() == net.stack[0].weight.data_ptr()",
        },
    ),
    "torch data": (
        "import torch\nfrom torch.utils.data import TensorDataset, DataLoader\nds = TensorDataset(torch.ones(4, 2), torch.zeros(4))\ndl = DataLoader(ds, batch_size=2)\nit = iter(dl)\ndt = torch.float32\ngen = torch.Generator().manual_seed(3)",
        {
            "ds": "len(ds) == 4",
            "dl": "dl.dataset is ds",
            "it": "False",
            "dt": "dt is torch.float32",
            "gen": "gen.initial_seed() == 3",
        },
    ),
    "shared references": (
        "a = [1]\nb = {'a': a}\nc = (a, b)\nd = [a] * 3",
        {"a": "a == [1]", "b": "b['a'] is a", "c": "c[0] is a and c[1] is b", "d": "all(x is a for x in d)"},
    ),
    "cycles": (
        "a = []\na.append(a)\nd = {}\nd['d'] = d\nclass N: pass\nn = N()\nn.n = n\nt = ([],)\nt[0].append(t)",
        {"a": "a[0] is a", "d": "d['d'] is d", "N": "isinstance(n, N)", "n": "n.n is n", "t": "t[0][0] is t"},
    ),
    "functions and names": (
        "x = 1\ndef f(): return x\ng = lambda: x\nh = f",
        {
            "x": "x == 1",
            "f": "(globals().__setitem__('x', 5), f() == 5)[1]",
            "g": "(globals().__setitem__('x', 6), g() == 6)[1]",
            "h": "h is f",
        },
    ),
    "closures": (
        "def make():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n        return n\n    return up, lambda: n\nup, get = make()\nup()",
        {"make": "make()[0]() == 1", "up": "up() == 2", "get": "(up(), get() == up() - 1)[1]"},
    ),
    "decorators": (
        "import functools\ncalls = []\ndef noted(f):\n    @functools.wraps(f)\n    def inner(*a):\n        calls.append(a)\n        return f(*a)\n    return inner\n@noted\ndef add(a, b): return a + b\n@functools.lru_cache\ndef fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\n@functools.singledispatch\ndef kind(x): return 'any'",
        {
            "calls": "calls == []",
            "noted": "callable(noted)",
            "add": "add(1, 2) == 3 and calls[-1] == (1, 2)",
            "fib": "fib(10) == 55",
            "kind": "kind(1) == 'any'",
        },
    ),
    "classes": (
        "class A:\n    n = 0\n    def __init__(self): A.n += 1\n    @property\n    def two(self): return 2\n    @classmethod\n    def make(cls): return cls()\na = A()\nclass B(A):\n    def __init__(self): super().__init__()\nb = B()\nclass A: v = 2\nc = A()",
        {
            "a": "a.two == 2 and type(a) is not A",
            "A": "A.v == 2",
            "B": "B.mro()[1] is type(a)",
            "b": "type(b) is B and b.two == 2",
            "c": "type(c) is A",
        },
    ),
    "dataclasses": (
        "from dataclasses import dataclass, field, replace, MISSING\n@dataclass\nclass P:\n    x: int\n    y: list = field(default_factory=list)\n@dataclass(frozen=True, slots=True)\nclass Q: a: int = 1\np = P(1)\nq = Q()",
        {
            "P": "P(2).y == []",
            "Q": "Q() == q",
            "p": "replace(p, x=2).x == 2 and type(p) is P",
            "q": "q.a == 1",
            "MISSING": "P.__dataclass_fields__['x'].default is MISSING",
        },
    ),
    "enums and tuples": (
        "import enum, collections, typing\nclass C(enum.Enum): R = 1; G = 2\nclass F(enum.Flag): A = 1; B = 2\nc = C.R\nf = F.A | F.B\nT = collections.namedtuple('T', 'a b')\nt = T(1, 2)\nclass N(typing.NamedTuple): a: int = 1\nn = N()\ncount = collections.Counter('aab')\ndd = collections.defaultdict(list, a=[1])\nod = collections.OrderedDict(a=1)\ndq = collections.deque([1], 3)",
        {
            "C": "C(1) is c",
            "c": "c is C.R",
            "f": "F.A in f",
            "F": "F.A | F.B == f",
            "T": "T(1, 2) == t",
            "t": "type(t) is T",
            "N": "N() == n",
            "n": "n.a == 1",
            "count": "count['a'] == 2",
            "dd": "dd['b'] == []",
            "od": "od['a'] == 1",
            "dq": "dq.maxlen == 3",
        },
    ),
    "abstract and generic classes": (
        "import abc, typing\nclass Base(abc.ABC):\n    @abc.abstractmethod\n    def f(self): ...\nclass Own(Base):\n    def f(self): return 1\no = Own()\nV = typing.TypeVar('V')\nclass Box(typing.Generic[V]): pass\nb = Box[int]()",
        {
            "Base": "isinstance(o, Base)",
            "Own": "type(o) is Own",
            "o": "o.f() == 1",
            "V": "V is Box.__parameters__[0]",
            "Box": "type(b) is Box",
            "b": "b.__orig_class__ == Box[int]",
        },
    ),
    "metaclasses and registries": (
        "reg = []\nclass Base:\n    def __init_subclass__(cls): reg.append(cls)\nclass One(Base): pass\nclass Meta(type):\n    def __call__(cls): return super().__call__()\nclass M(metaclass=Meta): pass\nm = M()",
        {
            "reg": "reg == [One]",
            "Base": "issubclass(One, Base)",
            "One": "reg[0] is One",
            "Meta": "type(M) is Meta",
            "M": "type(m) is M",
            "m": "type(m) is M",
        },
    ),
    "slots and descriptors": (
        "class D:\n    def __set_name__(self, o, n): self.n = n\n    def __get__(self, i, o=None): return self.n\nclass S:\n    __slots__ = ('a',)\n    d = D()\ns = S()\ns.a = 1",
        {"D": "D is type(vars(S)['d'])", "S": "type(s) is S", "s": "s.a == 1 and s.d == 'd'"},
    ),
    "own pickling": (
        "class Loses:\n    def __init__(self): self.x, self.cache = 1, {1: 2}\n    def __getstate__(self): return {'x': self.x}\nl = Loses()\nclass Fails:\n    def __reduce__(self): raise ValueError('no')\nf = Fails()\nok = 1",
        {"Loses": "type(l) is Loses", "l": "l.cache == {1: 2}", "Fails": "Fails", "f": "False", "ok": "ok == 1"},
    ),
    "generators and iterators": (
        "g = (i for i in range(3))\nnext(g)\nl = iter([1, 2, 3])\nnext(l)\nd = iter({'a': 1})\nimport itertools\nc = itertools.count(5)\nz = zip([1, 2], 'ab')\ne = enumerate('ab')\nnext(e)",
        {
            "g": "False",
            "l": "next(l) == 2",
            "d": "False",
            "c": "next(c) == 5",
            "z": "next(z) == (1, 'a')",
            "e": "next(e) == (1, 'b')",
        },
    ),
    "open files": (
        "import io, tempfile, os\npath = tempfile.mkstemp()[1]\nf = open(path, 'w')\nr = open(path)\nb = open(path, 'rb')\ns = io.StringIO('abc')\ns.read(1)\nlog = {'file': f, 'n': 1}",
        {
            "path": "isinstance(path, str)",
            "f": "False",
            "r": "False",
            "b": "False",
            "s": "s.read() == 'bc'",
            "log": "False",
        },
    ),
    "sockets and pipes": (
        "import socket, os, subprocess\ns = socket.socket()\np = subprocess.Popen(['true'])\npipe = os.popen('true')\nn = 1",
        {"s": "False", "p": "False", "pipe": "False", "n": "n == 1"},
    ),
    "threads and locks": (
        "import threading, queue, concurrent.futures\nl = threading.Lock()\nr = threading.RLock()\nt = threading.Thread(target=print)\ne = threading.Event()\nq = queue.Queue()\np = concurrent.futures.ThreadPoolExecutor()\nh = threading.local()\nn = [1]",
        {
            "l": "False",
            "r": "False",
            "t": "False",
            "e": "False",
            "q": "False",
            "p": "False",
            "h": "False",
            "n": "n == [1]",
        },
    ),
    "lambda over a socket": (
        "import socket\ns = socket.socket()\nsend = lambda x: s\ndef over():\n    t = s\n    return lambda: t\nclosed = over()\nbound = s.close\nn = 1",
        {"s": "False", "send": "send.__code__.co_names == ('s',)", "closed": "False", "bound": "False", "n": "n == 1"},
    ),
    "weak references": (
        "import weakref\nclass A: pass\na = A()\nr = weakref.ref(a)\np = weakref.proxy(a)\nw = weakref.WeakValueDictionary(a=a)\ns = weakref.WeakSet([a])\nf = weakref.finalize(a, print)",
        {
            "A": "type(a) is A",
            "a": "type(a) is A",
            "r": "r() is a",
            "p": "type(p) is weakref.ProxyType",
            "w": "w['a'] is a",
            "s": "a in s",
            "f": "f.alive",
        },
    ),
    "databases": (
        "import sqlite3\nc = sqlite3.connect(':memory:')\ncur = c.execute('select 1')\nrows = cur.fetchall()",
        {"c": "False", "cur": "False", "rows": "rows == [(1,)]"},
    ),
    "asynchronous": (
        "import asyncio\nasync def co(): return 1\nc = co()\nloop = asyncio.new_event_loop()\nasync def ag(): yield 1\na = ag()",
        {
            "co": "asyncio.iscoroutinefunction(co)",
            "c": "False",
            "loop": "False",
            "ag": "ag.__name__ == 'ag'",
            "a": "False",
        },
    ),
    "memory": (
        "import mmap, array\nm = mmap.mmap(-1, 10)\nb = bytearray(b'abc')\nv = memoryview(b)\na = array.array('d', [1, 2])\nimport numpy as np\nn = np.frombuffer(b, 'u1')",
        {"m": "False", "b": "b == b'abc'", "v": "False", "a": "a[1] == 2", "n": "(b.__setitem__(0, 9), n[0] == 9)[1]"},
    ),
    "ctypes": (
        "import ctypes\ni = ctypes.c_int(3)\np = ctypes.pointer(i)\nlib = ctypes.CDLL(None)\nclass S(ctypes.Structure): _fields_ = [('a', ctypes.c_int)]\ns = S(4)",
        {"i": "i.value == 3", "p": "False", "lib": "False", "S": "type(s) is S", "s": "s.a == 4"},
    ),
    "deep nesting": (
        "d = []\nfor i in range(50000): d = [d]\nn = 1",
        {"d": "len(d) == 1", "n": "n == 1", "i": "i == 49999"},
    ),
    "sentinels and singletons": (
        "import inspect, dataclasses\nnone = None\nmissing = object()\ndef f(x=missing): return x is missing\ne = inspect.Parameter.empty\nn = NotImplemented\ndots = ...",
        {
            "none": "none is None",
            "missing": "type(missing) is object",
            "f": "f() and f(missing)",
            "e": "e is inspect.Parameter.empty",
            "n": "n is NotImplemented",
            "dots": "dots is ...",
        },
    ),
    "modules": (
        "import os.path as p, json, types, sys\nmade = types.ModuleType('made')\nmade.x = 1\nm = json.decoder\nns = vars(json)\nout = sys.stdout",
        {
            "p": "p.join('a', 'b') == 'a/b'",
            "json": "json.dumps(1) == '1'",
            "made": "made.x == 1",
            "m": "m is json.decoder",
            "ns": "ns is vars(json)",
            "out": "out.__class__ is sys.stdout.__class__ and (out is sys.stdout or out is sys.__stdout__)",
        },
    ),
    "random and settings": (
        "import random, os, sys\nrandom.seed(5)\nr = random.Random(6)\nother = random.Random(5)\nos.environ['MINE'] = '1'\nsys.path.append('/opt/mine')\nos.chdir('/usr')",
        {
            "random": "random.random() == other.random()",
            "r": "r.random() == random.Random(6).random()",
            "os": "os.environ['MINE'] == '1' and os.getcwd() == '/usr'",
            "sys": "'/opt/mine' in sys.path",
        },
    ),
    "exec namespaces": (
        "ns = {}\nexec('n = 1\\ndef f(): return n', ns)\nf = ns['f']",
        {"ns": "ns['n'] == 1", "f": "(ns.__setitem__('n', 4), f() == 4)[1]"},
    ),
    "exceptions": (
        "class E(Exception):\n    def __init__(self, a, b): super().__init__(a); self.b = b\ntry:\n    raise E(1, 2)\nexcept E as error:\n    kept = error\nplain = ValueError('x')",
        {"E": "issubclass(E, Exception)", "kept": "kept.b == 2", "plain": "plain.args == ('x',)"},
    ),
    "times and numbers": (
        "import datetime, decimal, fractions, uuid, pathlib, re, zoneinfo\nt = datetime.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Oslo'))\nd = decimal.Decimal('1.10')\nf = fractions.Fraction(1, 3)\nu = uuid.UUID(int=1)\np = pathlib.Path('/x')\nr = re.compile('a+')",
        {
            "t": "t.tzinfo.key == 'Europe/Oslo'",
            "d": "str(d) == '1.10'",
            "f": "f * 3 == 1",
            "u": "u.int == 1",
            "p": "p.name == 'x'",
            "r": "r.match('aa')",
        },
    ),
    "partials and methods": (
        "import functools, operator\nlist_ = [1]\nadd = list_.append\nclass A:\n    def m(self): return self\na = A()\nm = a.m\np = functools.partial(m)\ni = operator.itemgetter(1)\nk = functools.cmp_to_key(lambda a, b: a - b)",
        {
            "list_": "list_ == [1]",
            "add": "(add(2), list_[-1] == 2)[1]",
            "A": "type(a) is A",
            "a": "type(a) is A",
            "m": "m() is a",
            "p": "p() is a",
            "i": "i('ab') == 'b'",
            "k": "sorted([2, 1], key=k) == [1, 2]",
        },
    ),
    "pools and shared memory": (
        "import multiprocessing as mp, multiprocessing.shared_memory as sm, numpy as np\nv = mp.Value('i', 1)\ns = sm.SharedMemory(create=True, size=64)\na = np.ndarray(4, buffer=s.buf)\nn = 1",
        {"v": "False", "s": "False", "a": "False", "n": "n == 1"},
    ),
    "loggers": (
        "import logging\nlog = logging.getLogger('mine')\nlog.setLevel(10)\nh = logging.StreamHandler()\nn = 1",
        {"log": "log is logging.getLogger('mine') and log.level == 10", "h": "False", "n": "n == 1"},
    ),
}
