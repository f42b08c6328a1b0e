from sklearn.pipeline import Step

class LogisticRegression(Step):
    def __init__(self, *, max_iter: int = ...) -> None: ...
