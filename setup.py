"""Packaging: `import tempohand` is the folder src/. The scripts and their configurations are installed as
tempohand/script and tempohand/config, beside each other as in the repository. tests/test_wheel.py checks that
nothing is left out.
"""

from pathlib import Path

from setuptools import find_packages, setup

SCRIPTS = [
    "tempohand.script",
    "tempohand.script.benchmarks",
    "tempohand.script.open_hand",
    "tempohand.config",
]

setup(
    name="tempohand",
    version="0.1.0",
    description=(
        "3D hands from ordinary video: a per-frame DINO network, a temporal encoder, and everything needed "
        "to train them"
    ),
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT AND Apache-2.0",  # the second is that of MediaPipe's weights
    license_files=["LICENSE", "THIRD_PARTY_NOTICES.md", "src/model/released/mediapipe/LICENSE"],
    python_requires=">=3.11",
    package_dir={"tempohand": "src", "tempohand.script": "script", "tempohand.config": "config"},
    packages=["tempohand", *(f"tempohand.{name}" for name in find_packages("src")), *SCRIPTS],
    package_data={
        "tempohand.hand": ["*.npz"],
        "tempohand.model": ["released/*/*"],
        "tempohand.config": ["**/*.yaml"],
        "tempohand.evaluation.report": ["templates/*"],
        "tempohand.doctor": ["templates/*"],
    },
    install_requires=[
        "torch>=2.11",
        "torchvision",
        "timm>=1.0.20",
        "accelerate>=1.10",
        "safetensors>=0.5",
        "einops>=0.8",
        "hydra-core>=1.3.2",
        "numpy>=2.0",
        "tqdm",
        "datasets>=4.0",
        "tensorboard",
        "roma>=1.5",
        "opencv-python-headless>=4.10",
        "av>=17",
        "numba>=0.61",
        "jaxtyping>=0.3",
        "matplotlib>=3.9",
        "scipy>=1.13",
        "pyyaml>=6.0",
        "jinja2>=3.1",
        "tabulate>=0.9",
    ],
    extras_require={
        # smplx may not be used commercially: tests and script/bench.py hand hold the hand layer against it,
        # nothing in src/ needs it.
        "test": [
            *(
                "pytest",
                "pillow>=11.3",
                "pytest-xdist",
                "ruff",
                "beartype",
                "trimesh",
                "psutil",
                "onnx",
                "onnxscript",
                "onnxruntime",
            ),
            *("smplx>=0.1.28", "packaging"),
        ],
        "detect": ["mediapipe>=1.2"],
    },
    entry_points={"console_scripts": ["tempohand = tempohand.cli:main"]},
)
