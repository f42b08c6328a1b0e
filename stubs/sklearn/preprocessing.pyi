from sklearn.pipeline import Step

class StandardScaler(Step):
    def __init__(self) -> None: ...
